"""Writes label images, whose pixels hold the number of their nucleus, as TIFF or OME-TIFF."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile

from nucdet.files import write_atomically
from nucdet.structures import CroppedMasks

# Images with more pixels are written in tiles, so that readers can open parts of them; smaller ones
# are not, because ImageJ's own TIFF reader cannot read tiles.
TILED_FROM = 8192**2
TILE = 512  # pixels
# offsets in a classic TIFF have 32 bits; this leaves a margin for the tags
_CLASSIC_TIFF_BYTES = 2**32 - 2**25


class StackLayout(NamedTuple):
    """The axes and size of a stack of label images.

    Attributes:
        axes: "T", "Z" or "TZ", outermost first; rows and columns follow.
        lengths: the number of planes along each of these axes.
        size: (height, width) of each plane, pixels.
        labels: the largest label in all planes.
    """

    axes: str
    lengths: tuple[int, ...]
    size: tuple[int, int]
    labels: int


class LabelPlane(NamedTuple):
    """The masks of one plane of a stack.

    Attributes:
        masks: N masks.
        labels: N labels, from 1.
    """

    masks: CroppedMasks
    labels: Sequence[int]


def write_label_image(
    path: str | os.PathLike[str], masks: CroppedMasks, pixel_size: float | None = None
) -> None:
    """Write a label TIFF, compressed (zlib): 0 is background, i + 1 is mask i.

    Pixels are uint16, or uint32 if there are more than 65,535 masks. Where masks overlap, the lower
    index is on top. An image of more than :data:`TILED_FROM` pixels is drawn in bands of rows, so
    that memory grows with its width and the masks, not with its area.

    Args:
        path: an existing file is replaced.
        masks: N masks of the image.
        pixel_size: µm; stored as the resolution of the TIFF. None: unknown.

    Raises:
        OSError: the file cannot be written.
    """
    height, width = masks.image_size
    dtype = _dtype(len(masks))
    # without tifffile's own description, equal masks give equal bytes with any version of it
    options: dict[str, Any] = {"compression": "zlib", "metadata": None}
    if pixel_size is not None:
        options |= {"resolution": (1e4 / pixel_size,) * 2, "resolutionunit": "CENTIMETER"}
    with write_atomically(path) as temporary:
        if height * width <= TILED_FROM:
            tifffile.imwrite(temporary, masks.to_label_map().astype(dtype), **options)
        else:
            tifffile.imwrite(
                temporary,
                _tiles(masks, np.arange(1, len(masks) + 1, dtype=dtype)),
                shape=(height, width),
                dtype=dtype,
                tile=(TILE, TILE),
                bigtiff=height * width * dtype.itemsize > _CLASSIC_TIFF_BYTES,
                **options,
            )


def write_label_stack(
    path: str | os.PathLike[str],
    planes: Iterable[LabelPlane],
    layout: StackLayout,
    pixel_size: float | None = None,
    z_step: float | None = None,
) -> None:
    """Write label images as one OME-TIFF with named axes, compressed (zlib).

    Otherwise like :func:`write_label_image`; only one plane is in memory at a time.

    Args:
        path: an existing file is replaced.
        planes: in the order of the axes; iterated over once.
        layout: the axes and size of the stack.
        pixel_size, z_step: of a pixel and between depths, µm, or None.

    Raises:
        OSError: the file cannot be written.
    """
    height, width = layout.size
    dtype = _dtype(layout.labels)
    # a UUID that depends only on these, so that equal masks give equal bytes; tifffile's default
    # depends on the time and the machine
    name = uuid.uuid5(uuid.NAMESPACE_OID, f"nucdet {Path(path).name} {layout}")
    metadata: dict[str, Any] = {"axes": f"{layout.axes}YX", "UUID": str(name), "Creator": "nucdet"}
    for axis, size in zip("XYZ", (pixel_size, pixel_size, z_step), strict=True):
        if size is not None:
            metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    is_tiled = height * width > TILED_FROM
    shape = (*layout.lengths, height, width)
    with write_atomically(path) as temporary:
        tifffile.imwrite(
            temporary,
            _planes(planes, dtype, is_tiled),
            shape=shape,
            dtype=dtype,
            ome=True,
            metadata=metadata,
            compression="zlib",
            photometric="minisblack",
            tile=(TILE, TILE) if is_tiled else None,
            rowsperstrip=None if is_tiled else height,
            bigtiff=math.prod(shape) * dtype.itemsize > _CLASSIC_TIFF_BYTES,
        )


def _dtype(masks: int) -> np.dtype:
    return np.dtype(np.uint16 if masks <= np.iinfo(np.uint16).max else np.uint32)


def _planes(planes: Iterable[LabelPlane], dtype: np.dtype, is_tiled: bool) -> Iterator[np.ndarray]:
    """Label maps (H, W) of whole planes, or their tiles."""
    for masks, labels in planes:
        values = np.array(labels, dtype)
        if is_tiled:
            yield from _tiles(masks, values)
        else:
            yield masks.to_label_map(values)


def _tiles(masks: CroppedMasks, labels: np.ndarray) -> Iterator[np.ndarray]:
    """Tiles (TILE, TILE) of a label map, row by row, in the dtype of ``labels`` (N,)."""
    height, width = masks.image_size
    boxes = list(masks.slices())
    tops = masks.offsets[:, 0]
    bottoms = np.array([rows.stop for rows, _ in boxes], dtype=np.int64)
    padded_width = -(-width // TILE) * TILE
    for top in range(0, height, TILE):
        band = np.zeros((TILE, padded_width), labels.dtype)
        # in reverse order, so that the lower index is on top
        for i in np.flatnonzero((tops < top + TILE) & (bottoms > top))[::-1].tolist():
            rows, columns = boxes[i]
            start, stop = max(rows.start, top), min(rows.stop, top + TILE)
            part = masks.crops[i][start - rows.start : stop - rows.start]
            band[start - top : stop - top, columns][part] = labels[i]
        for left in range(0, padded_width, TILE):
            yield np.ascontiguousarray(band[:, left : left + TILE])
