"""Masks in an image of one row, whose pixels are counted by eye."""

import numpy as np
import pytest

from nucdet.structures import CroppedMasks


@pytest.fixture
def rows():
    """A function that makes masks in an image of one row: (first column, column after the last)."""

    def make(*spans: tuple[int, int], width: int = 12) -> CroppedMasks:
        dense = np.zeros((len(spans), 1, width), dtype=bool)
        for mask, (start, end) in zip(dense, spans, strict=True):
            mask[0, start:end] = True
        return CroppedMasks.from_dense(dense)

    return make


@pytest.fixture
def spans_of():
    """The way back: first column, column after the last of each mask."""
    return lambda masks: [(int(x0), int(x1)) for x0, _, x1, _ in masks.boxes]
