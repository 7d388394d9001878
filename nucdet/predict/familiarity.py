"""Whether an image is of the kind that the model was trained on."""

from __future__ import annotations

from nucdet.data.io.windows import ImageWindows
from nucdet.modeling.familiarity import Familiarity
from nucdet.predict.blank import is_blank
from nucdet.predict.finding import Found

UNFAMILIAR = "unlike the images that this model knows: check by eye"


def familiarity(
    known: Familiarity | None, found: Found, nuclei: int, source: ImageWindows
) -> float | None:
    """How similar an image is to the training images of the model that predicted it.

    Args:
        known: the model's statistics of its training images, or None.
        found: the nuclei in the image, including those that overlap elimination drops.
        nuclei: how many of them are left after overlap elimination.
        source: the image.

    Returns:
        Below 1 for images that deserve the warning :data:`UNFAMILIAR`, above 1 for nearly all
        images of the kinds in training. None if the model has no such statistics or no encoder to
        compare, or if no nucleus is left in an image that shows nothing but noise: an empty well
        needs no warning.
    """
    if known is None or not found.seen:
        return None
    if not nuclei and is_blank(source):
        return None
    return 1 / max(known.strangeness(found.seen, found.instances.scores), 1e-6)


def warning(how: float | None) -> str:
    """:data:`UNFAMILIAR` or an empty string, for a value of :func:`familiarity`."""
    return UNFAMILIAR if how is not None and how < 1 else ""
