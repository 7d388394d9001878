"""Label images: a TIFF where each pixel holds the number of its nucleus."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tifffile

from nucdet.files import write_atomically
from nucdet.structures import CroppedMasks

# larger images are written in tiles, which their readers can open by parts; smaller ones in one
# strip, because ImageJ's own TIFF reader knows no tiles
TILED_FROM = 8192**2
TILE = 512
_CLASSIC_TIFF_BYTES = 2**32 - 2**25


def write_label_image(
    path: str | os.PathLike[str], masks: CroppedMasks, pixel_size: float | None = None
) -> None:
    """Write a label TIFF, compressed (zlib): 0 is background, i + 1 mask i.

    16 bits a pixel, or 32 where there are more than 65,535 masks. Where masks overlap the lower
    index is on top. An image of more than :data:`TILED_FROM` pixels is painted a band at a time,
    so that memory follows its width and the masks, not its area.

    Args:
        path: replaced as a whole.
        masks: N masks.
        pixel_size: µm, noted in the file as its resolution.

    Raises:
        OSError: the file cannot be written.
    """
    height, width = masks.image_size
    dtype = np.dtype(np.uint16 if len(masks) <= np.iinfo(np.uint16).max else np.uint32)
    # no description: the same masks give the same bytes with any version of the writer's metadata
    options: dict[str, Any] = {"compression": "zlib", "metadata": None}
    if pixel_size is not None:
        options |= {"resolution": (1e4 / pixel_size,) * 2, "resolutionunit": "CENTIMETER"}
    with write_atomically(path) as temporary:
        if height * width <= TILED_FROM:
            tifffile.imwrite(temporary, masks.to_label_map().astype(dtype), **options)
        else:
            tifffile.imwrite(
                temporary,
                _tiles(masks, dtype),
                shape=(height, width),
                dtype=dtype,
                tile=(TILE, TILE),
                bigtiff=height * width * dtype.itemsize > _CLASSIC_TIFF_BYTES,
                **options,
            )


def _tiles(masks: CroppedMasks, dtype: np.dtype) -> Iterator[np.ndarray]:
    height, width = masks.image_size
    boxes = list(masks.slices())
    tops = masks.offsets[:, 0]
    bottoms = np.array([rows.stop for rows, _ in boxes], dtype=np.int64)
    padded_width = -(-width // TILE) * TILE
    for top in range(0, height, TILE):
        band = np.zeros((TILE, padded_width), dtype)
        for i in np.flatnonzero((tops < top + TILE) & (bottoms > top))[::-1].tolist():
            rows, columns = boxes[i]
            start, stop = max(rows.start, top), min(rows.stop, top + TILE)
            part = masks.crops[i][start - rows.start : stop - rows.start]
            band[start - top : stop - top, columns][part] = i + 1
        for left in range(0, padded_width, TILE):
            yield np.ascontiguousarray(band[:, left : left + TILE])
