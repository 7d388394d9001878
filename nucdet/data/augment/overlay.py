"""Lays the nuclei of one image over another, as in tissue that is thicker than a nucleus."""

from __future__ import annotations

import numpy as np

from nucdet.data.augment.copy_paste import background_color
from nucdet.data.augment.photometry import as_uint8
from nucdet.data.augment.sample import Sample
from nucdet.structures import CroppedMasks

# contrast of the image below relative to its own
_CONTRAST = (0.4, 1.1)
# Share of a nucleus that must remain visible; others of the image below are left out
_VISIBLE = 0.3
# background, in grey levels, from which on nuclei absorb light instead of emitting it
_LIGHT = 110


def overlay(top: Sample, below: Sample) -> Sample:
    """Superimpose an image on another one of the same kind.

    Where nuclei shine, the light of both adds up; where they are stained, each absorbs a share.

    Args:
        top: its nuclei keep all their pixels.
        below: of the same size; shown at 0.4 to 1.1 of its contrast. Its nuclei keep what no
            nucleus of ``top`` covers; those of which little is left belong to the background.

    Returns:
        The image of both; ``top`` if their sizes differ.
    """
    if top.image.shape != below.image.shape:
        return top
    contrast = np.random.uniform(*_CONTRAST)
    first, second = top.image.astype(np.float32), below.image.astype(np.float32)
    ground = background_color(below).astype(np.float32)
    if ground.mean() < _LIGHT:
        image = first + contrast * np.maximum(second - ground, 0)
    else:
        image = first * (1 - contrast * np.maximum(1 - second / np.maximum(ground, 1), 0))
    visible = below.masks.outside(top.masks.to_label_map() > 0)
    kept = visible.areas >= _VISIBLE * np.maximum(below.masks.areas, 1)
    return Sample(
        as_uint8(image),
        CroppedMasks.cat([top.masks, visible[kept]]),
        np.concatenate([top.classes, below.classes[kept]]),
    )
