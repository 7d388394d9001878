"""Masks whose files are read back: every difficult shape in one small image."""

from __future__ import annotations

import numpy as np
import pytest

from nucdet.structures import CroppedMasks

# 1 plain; 2 with a hole that touches its border at a corner; 3 in two pieces that meet at a corner;
# 4 one pixel at the image's corner; 5 and 6 touch; 6 lies in the hole of 7
IMAGE = """
1 1 0 2 2 2 2 0 0 0 0 4
1 1 0 2 2 0 2 0 0 0 0 0
1 1 0 2 2 2 0 0 3 0 0 0
0 0 0 2 2 2 2 3 0 0 0 0
7 7 7 0 0 0 0 0 0 0 0 0
7 6 7 5 5 0 0 0 0 0 0 0
7 7 7 5 5 0 0 0 0 0 0 0
"""


@pytest.fixture(scope="session")
def labels() -> np.ndarray:
    """(7, 12) int label map of IMAGE."""
    return np.array([row.split() for row in IMAGE.strip().splitlines()], dtype=np.int64)


@pytest.fixture(scope="session")
def masks(labels) -> CroppedMasks:
    """Its seven masks."""
    return CroppedMasks.from_label_map(labels)


@pytest.fixture(scope="session")
def no_masks() -> CroppedMasks:
    """An image of (5, 4) without nuclei."""
    return CroppedMasks.from_label_map(np.zeros((5, 4), np.uint8))


@pytest.fixture(scope="session")
def make_record():
    """A record of masks, as prediction makes them."""
    from nucdet.export import ImageRecord
    from nucdet.export.report_image import outline_paths

    def make(name: str, masks: CroppedMasks, file_name: str | None = None, **fields) -> ImageRecord:
        count = len(masks)
        height, width = masks.image_size
        columns = {"id": list(range(1, count + 1)), "area_px": masks.areas.tolist()}
        return ImageRecord(
            name=name,
            file_name=file_name or f"{name}.png",
            height=height,
            width=width,
            counts=[rle["counts"] for rle in masks.to_coco_rle()],
            areas=masks.areas.tolist(),
            scores=[0.5 + i / 16 for i in range(count)],
            classes=[0] * count,
            class_names=["nucleus"],
            colors="".join(str(i % 8) for i in range(count)),
            **{
                "thumbnail": "data:image/webp;base64,AA==",
                "thumbnail_size": (width, height),
                "outlines": outline_paths(masks, (width, height)),
                "columns": columns,
            }
            | fields,
        )

    return make
