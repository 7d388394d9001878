from __future__ import annotations

import pytest

from nucdet.errors import InputError
from nucdet.tuning.search_space import (
    drawn_axes,
    grid_axes,
    grid_points,
    random_points,
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
    axes = grid_axes(["A.LR=1e-3,1e-4", "A.SIZE=(1,2),3"], ["plain:", "grey: B.X 1 B.Y 'a b'"])
    points = grid_points(axes)
    assert len(points) == len({tuple(point.values()) for point in points}) == 2 * 2 * 2
    # numbers stay numbers, and the config gets them as they were written
    assert points[0] == {"A.LR": 1e-3, "A.SIZE": "(1,2)", "variant": "plain"}
    assert [axis.overrides(points[0][axis.name]) for axis in axes] == [
        ("A.LR", "1e-3"), ("A.SIZE", "(1,2)"), (),
    ]  # fmt: skip
    assert axes[2].overrides("grey") == ("B.X", "1", "B.Y", "a b")


@pytest.mark.parametrize(
    ("grid", "log"), [("A=1,29", False), ("A=1e-4,1e-2", True), ("A=0,100", False)]
)
def test_a_grid_over_decades_has_a_logarithmic_axis(grid, log):
    (axis,) = grid_axes([grid])
    assert axis.distribution.log == log


def test_draws_are_in_range_of_their_type_and_repeatable():
    axes = drawn_axes(DRAWS, CURRENT)
    points = random_points(axes, 200, 3)
    texts = [[axis.overrides(point[axis.name])[1] for axis in axes] for point in points]
    rates, iterations, names = zip(*texts, strict=True)
    assert all(1e-6 <= float(rate) <= 1e-2 for rate in rates)
    # log-uniform: half of them below the geometric mean, 1e-4
    assert 80 <= sum(float(rate) < 1e-4 for rate in rates) <= 120
    assert all(any(c in rate for c in ".e") for rate in rates)
    assert {int(text) for text in iterations} <= set(range(5, 51)) and len({*iterations}) > 20
    assert {*names} == {"x", "'y,z'"}

    assert random_points(axes, 5, 3) == points[:5]
    assert random_points(axes, 5, 4) != points[:5]


def test_numbers_are_short():
    (axis,) = drawn_axes(["A.LR=uniform(0,1)"], CURRENT)
    assert axis.overrides(0.123456789) == ("A.LR", "0.1235")
    assert axis.overrides(1.0) == ("A.LR", "1.0")


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
        grid_axes(grids, variants)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        ("A.LR=normal(0,1)", r"expected loguniform\(LOW,HIGH\)"),
        ("A.LR=uniform(1)", "expected two numbers"),
        ("A.LR=uniform(1,b)", "expected two numbers"),
        ("A.LR=uniform(2,1)", r"uniform\(2,1\).*low <= high"),
        ("A.LR=uniform(1,inf)", "expected two numbers"),
        ("A.LR=loguniform(0,1)", "low > 0"),
        ("A.LT=uniform(0,1)", r"A\.LT: there is no such key"),
        ("A.LR=choice(1,,2)", "expected values"),
    ],
)
def test_draws_that_do_not_parse(draw, message):
    with pytest.raises(InputError, match=message):
        drawn_axes([draw], CURRENT)
