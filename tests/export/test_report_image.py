import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
import shapely
from PIL import Image

from nucdet.export.report_image import (
    OUTLINE_GRID,
    THUMBNAIL_BYTES,
    THUMBNAIL_SIDE,
    encode_thumbnail,
    outline_paths,
    report_columns,
)
from nucdet.structures import CroppedMasks


def decoded(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def rings(path: str) -> list[np.ndarray]:
    """The points (x, y) of each closed part, in pixels of the thumbnail."""
    found = []
    for part in re.findall(r"M([^z]*)z", path):
        numbers = [[int(n) for n in re.findall(r"-?\d+", text)] for text in part.split("l")]
        steps = np.array([n for text in numbers for n in text]).reshape(-1, 2)
        found.append(np.cumsum(steps, axis=0) / OUTLINE_GRID)
    return found


def disk(size: int, y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] + 0.5
    return np.hypot(rows - y, columns - x) < radius


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((9, 15), (15, 9)),
        ((520, 696), (696, 520)),
        ((1000, 2000), (720, 360)),
        ((1, 5000), (720, 1)),
    ],
)
def test_thumbnails_keep_their_shape_up_to_a_side(size, expected):
    image = np.full((*size, 3), (10, 200, 90), np.uint8)
    uri, thumbnail_size = encode_thumbnail(image)
    assert thumbnail_size == expected and max(thumbnail_size) <= THUMBNAIL_SIDE
    assert decoded(uri).shape == (expected[1], expected[0], 3)
    assert np.abs(decoded(uri).mean(axis=(0, 1)) - (10, 200, 90)).max() < 4


def test_pure_noise_stays_within_the_size_of_a_thumbnail():
    noise = np.random.default_rng(0).integers(0, 256, (520, 696, 3), dtype=np.uint8)
    uri, (width, height) = encode_thumbnail(noise)
    assert len(uri) <= 4 / 3 * THUMBNAIL_BYTES + 30
    assert abs(width / height - 696 / 520) < 0.02


def test_outlines_lie_on_the_edges_of_their_masks():
    dense = np.stack([disk(100, 30, 40, 15), disk(100, 70, 60, 20) & ~disk(100, 70, 60, 8)])
    masks = CroppedMasks.from_dense(dense)
    first, second = outline_paths(masks, (100, 100))
    (ring,) = rings(first)
    distance = np.hypot(*(ring - (40, 30)).T)
    assert (np.abs(distance - 15) < 1.2).all()
    area = shapely.Polygon(ring).area
    assert np.pi * 14.4**2 < area < np.pi * 15.6**2
    outer, hole = sorted(rings(second), key=len, reverse=True)
    assert shapely.Polygon(outer).contains(shapely.Polygon(hole))
    assert len(first) < 120


def test_outlines_follow_the_scale_of_the_thumbnail():
    masks = CroppedMasks.from_dense(disk(1000, 300, 400, 150)[None])
    (path,) = outline_paths(masks, (500, 500))
    (ring,) = rings(path)
    assert np.abs(np.hypot(*(ring - (200, 150)).T) - 75).max() < 1.2
    # far too small to see: still a point to draw
    speck = CroppedMasks.from_windows(np.array([[500, 500]]), [np.ones((2, 2), bool)], (9000, 9000))
    assert re.fullmatch(r"M80 80(l[^z]*)?z", outline_paths(speck, (720, 720))[0])


def test_a_mask_without_pixels_has_no_outline():
    empty = CroppedMasks.from_windows(np.zeros((1, 2), int), [np.zeros((0, 0), bool)], (9, 9))
    assert outline_paths(empty, (9, 9)) == [""]


def test_columns_are_short_and_keep_their_headers_and_order():
    table = pd.DataFrame(
        {
            "id": [1, 2],
            "area_um2": [12.34567, 123456.7],
            "class": ["a", "b"],
            "mean_x": [np.nan, 0.000123456],
            "touches_border": [True, False],
        }
    )
    columns = report_columns(table)
    assert list(columns) == list(table)
    assert columns["id"] == [1, 2]
    assert columns["area_um2"] == [12.35, 123457]
    assert columns["class"] == ["a", "b"]
    assert columns["mean_x"] == [None, 0.0001235]
    assert columns["touches_border"] == [1, 0]
