import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from scipy import ndimage

from nucdet.export.outlines import mask_polygons


def rasterize(polygons, shape):
    """Pixels whose center lies in one of the polygons."""
    shape_of_all = shapely.MultiPolygon([(rings[0], rings[1:]) for rings in polygons])
    y, x = np.mgrid[: shape[0], : shape[1]]
    return shapely.contains_xy(shape_of_all, x + 0.5, y + 0.5)


def test_a_rectangle_has_four_corners_at_its_place():
    (rings,) = mask_polygons(np.ones((2, 3), bool), (10, 20))
    assert [ring.tolist() for ring in rings] == [[[20, 10], [23, 10], [23, 12], [20, 12]]]


def test_a_hole_is_a_ring_of_its_own_the_other_way_round():
    crop = np.ones((3, 3), bool)
    crop[1, 1] = False
    ((outer, hole),) = mask_polygons(crop, (0, 0))
    assert len(outer) == 4
    assert hole.tolist() == [[1, 1], [1, 2], [2, 2], [2, 1]]
    assert shapely.LinearRing(outer).is_ccw
    assert not shapely.LinearRing(hole).is_ccw


def test_pieces_that_meet_at_a_corner_are_two_polygons():
    assert len(mask_polygons(np.eye(2, dtype=bool), (0, 0))) == 2


def test_a_hole_that_meets_the_outside_at_a_corner_is_a_hole():
    # one piece that closes around its hole only diagonally: a ring that touched itself is invalid
    crop = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)
    ((outer, hole),) = mask_polygons(crop, (0, 0))
    assert shapely.Polygon(outer).area == 9 - 1
    assert shapely.Polygon(hole).area == 1


@pytest.mark.parametrize("shape", [(0, 0), (3, 4)])
def test_no_pixels_no_polygons(shape):
    assert mask_polygons(np.zeros(shape, bool), (0, 0)) == []


@settings(deadline=None, max_examples=150)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_any_mask_gives_valid_polygons_of_exactly_its_pixels(crop):
    polygons = mask_polygons(crop, (0, 0))
    assert len(polygons) == ndimage.label(crop)[1]
    shapes = [shapely.Polygon(rings[0], rings[1:]) for rings in polygons]
    assert all(shape.is_valid for shape in shapes)
    assert sum(shape.area for shape in shapes) == crop.sum()
    assert np.array_equal(rasterize(polygons, crop.shape), crop)
    for ring in (ring for rings in polygons for ring in rings):
        # only corners: every edge turns
        before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
        assert ((before != 0).any(1) & ((before * after).sum(1) == 0)).all()
