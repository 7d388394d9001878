import numpy as np
import pytest

from nucdet.data.image_kinds import image_kind


@pytest.mark.parametrize(
    ("background", "nucleus", "kind"),
    [
        ((5, 5, 5), (120, 120, 120), "fluorescence"),
        ((0, 0, 10), (40, 60, 220), "fluorescence"),
        ((230, 230, 230), (90, 90, 90), "bright_field"),
        ((220, 220, 226), (110, 40, 140), "stained_light"),
        ((190, 165, 215), (80, 40, 160), "stained_tinted"),
    ],
)
def test_kind_of_flat_images(background, nucleus, kind):
    image = np.full((60, 60, 3), background, np.uint8)
    image[20:35, 20:35] = nucleus
    assert image_kind(image) == kind
