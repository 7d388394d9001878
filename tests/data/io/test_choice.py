"""Which of several channels and scenes a user means."""

import pytest

from nucdet.arguments import number_or_name
from nucdet.data.io.choice import choose_channel, choose_scene
from nucdet.errors import InputError

WAVELENGTHS = ["457", "528", "617"]


@pytest.mark.parametrize("choose", [choose_channel, choose_scene])
@pytest.mark.parametrize(("text", "number"), [("528", 1), ("2", 2), ("617", 2)])
def test_a_name_of_digits_is_a_name_and_other_digits_are_a_number(choose, text, number):
    assert choose("a.dv", WAVELENGTHS, number_or_name(text)) == number


def test_a_name_counts_before_a_number():
    assert choose_channel("a.tif", ["1", "2", "3"], 1) == 0
    # two of a name are no name
    assert choose_channel("a.tif", ["1", "1", "3"], 1) == 1


def test_case_and_spaces_count_only_where_names_differ_in_nothing_else():
    assert choose_channel("a.tif", ["DAPI ", "Alexa  488"], "dapi") == 0
    assert choose_channel("a.tif", ["DAPI ", "Alexa  488"], "alexa 488") == 1
    assert choose_channel("a.tif", ["DAPI", "GFP", "gfp"], "gfp") == 2
    with pytest.raises(InputError, match=r"several channels are called Gfp; .* 0 DAPI, 1 GFP, 2 g"):
        choose_channel("a.tif", ["DAPI", "GFP", "gfp"], "Gfp")
    with pytest.raises(InputError, match=r"several scenes are called A; .* number: 0 A, 1 A"):
        choose_scene("a.tif", ["A", "A"], "A")


@pytest.mark.parametrize("wanted", ["DAPI", 458, -1])
def test_what_is_neither_is_refused(wanted):
    with pytest.raises(InputError, match=f"no channel {wanted}; .* 0 457, 1 528, 2 617"):
        choose_channel("a.dv", WAVELENGTHS, wanted)
