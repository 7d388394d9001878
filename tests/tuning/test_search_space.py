from __future__ import annotations

import math

import pytest

from nucdet.errors import InputError
from nucdet.tuning.search_space import (
    grid_settings,
    log_uniform_keys,
    random_settings,
    split_values,
)

CURRENT = {"A.LR": 0.1, "A.ITER": 10, "A.NAME": "x"}
DRAWS = ["A.LR=loguniform(1e-6,1e-2)", "A.ITER=uniform(5,50)", "A.NAME=choice(x,'y,z')"]


def test_commas_inside_brackets_and_quotes_belong_to_the_value():
    assert split_values("(256,),(1, (2, 3)),[4,5]", "") == ["(256,)", "(1, (2, 3))", "[4,5]"]
    assert split_values("{'a': 1, 'b': ')'},\"x,y\"", "") == ["{'a': 1, 'b': ')'}", '"x,y"']


@pytest.mark.parametrize("text", ["", "1,,2", "1,", "(1,2", "1),(2", "'a"])
def test_values_that_do_not_parse(text):
    with pytest.raises(InputError, match=r"^--grid A: found .* expected values"):
        split_values(text, "--grid A")


def test_a_grid_is_every_combination():
    settings = grid_settings(
        ["A.LR=1e-3,1e-4", "A.SIZE=(1,2),3"], ["plain:", "grey: B.X 1 B.Y 'a b'"]
    )
    assert len(settings) == 2 * 2 * 2
    assert settings[0].labels == {"A.LR": "1e-3", "A.SIZE": "(1,2)", "variant": "plain"}
    assert settings[0].overrides == ("A.LR", "1e-3", "A.SIZE", "(1,2)")
    assert settings[-1].overrides == ("A.LR", "1e-4", "A.SIZE", "3", "B.X", "1", "B.Y", "a b")
    assert len({tuple(s.labels.items()) for s in settings}) == 8


def test_draws_are_in_range_of_their_type_and_repeatable():
    settings = random_settings(DRAWS, 200, 3, CURRENT)
    rates = [float(s.labels["A.LR"]) for s in settings]
    assert all(1e-6 <= rate <= 1e-2 for rate in rates)
    # log-uniform: half of them below the geometric mean, 1e-4
    assert 80 <= sum(rate < 1e-4 for rate in rates) <= 120
    assert all(any(c in s.labels["A.LR"] for c in ".e") for s in settings)
    iterations = {s.labels["A.ITER"] for s in settings}
    assert {int(text) for text in iterations} <= set(range(5, 51)) and len(iterations) > 20
    assert {s.labels["A.NAME"] for s in settings} == {"x", "'y,z'"}
    assert settings[0].overrides[:2] == ("A.LR", settings[0].labels["A.LR"])

    assert random_settings(DRAWS, 5, 3, CURRENT) == settings[:5]
    assert random_settings(DRAWS, 5, 4, CURRENT) != settings[:5]
    assert log_uniform_keys(DRAWS) == {"A.LR"}


def test_numbers_are_short():
    (setting,) = random_settings(["A.LR=uniform(0,1)"], 1, 0, CURRENT)
    value = float(setting.labels["A.LR"])
    assert math.isclose(value, round(value, 4 - math.ceil(math.log10(value))))
    assert len(setting.labels["A.LR"]) <= 8


@pytest.mark.parametrize(
    ("grids", "variants", "message"),
    [
        (["A.LR"], [], r"--grid 'A\.LR': expected KEY="),
        (["=1,2"], [], "expected KEY="),
        (["A=1", "A=2"], [], "--grid A: given twice"),
        ([], ["grey"], r"'NAME: KEY VALUE"),
        ([], ["grey: A.X"], r"'NAME: KEY VALUE"),
        ([], ["grey: A.X 'a"], "No closing quotation"),
        ([], ["a:", "a: A.X 1"], "expected different ones"),
    ],
)
def test_grids_that_do_not_parse(grids, variants, message):
    with pytest.raises(InputError, match=message):
        grid_settings(grids, variants)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        ("A.LR=normal(0,1)", r"expected loguniform\(LOW,HIGH\)"),
        ("A.LR=uniform(1)", "expected two numbers"),
        ("A.LR=uniform(1,b)", "expected two numbers"),
        ("A.LR=uniform(2,1)", "the lower first"),
        ("A.LR=uniform(1,inf)", "the lower first"),
        ("A.LR=loguniform(0,1)", "above 0, the lower first"),
        ("A.LT=uniform(0,1)", r"A\.LT: there is no such key"),
        ("A.LR=choice(1,,2)", "expected values"),
    ],
)
def test_draws_that_do_not_parse(draw, message):
    with pytest.raises(InputError, match=message):
        random_settings([draw], 1, 0, CURRENT)
