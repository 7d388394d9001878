"""Which pixels are segmented and where their labels lie, on real layers without a window."""

from __future__ import annotations

import numpy as np
import pytest

napari_layers = pytest.importorskip("napari.layers", reason="napari is not installed")

from napari.components import Dims  # noqa: E402

from nucdet.errors import InputError  # noqa: E402
from nucdet.napari.planes import (  # noqa: E402
    all_planes,
    check_view,
    labels_placement,
    pixel_size_of,
    plane_axes,
    shown_plane,
)


def test_sliders_choose_the_plane_and_its_labels_lie_there_only():
    data = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    layer = napari_layers.Image(data, name="stack", scale=(10, 2, 0.5, 0.5), translate=(0, 1, 0, 0))
    plane = shown_plane(layer, (10, 1 + 2 * 2, 0, 0))
    assert (plane.name, plane.step) == ("stack_1_2", (1, 2))
    assert np.array_equal(plane.pixels, data[1, 2])

    placed = labels_placement(layer, plane.step)
    labels = napari_layers.Labels(np.ones((1, 1, 4, 5), int), **placed)
    assert labels.data_to_world((0, 0, 0, 0)) == pytest.approx((10, 5, 0, 0))
    assert np.array_equal(shown_plane(labels, (0, 0, 0, 0)).pixels, np.ones((4, 5)))


def test_all_planes_in_order_and_their_labels_lie_on_them():
    data = np.arange(2 * 3 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 3, 4, 5, 3)
    layer = napari_layers.Image(data, name="film", rgb=True, scale=(10, 2, 0.5, 0.5))
    assert plane_axes(layer) == (2, 3)
    planes = list(all_planes(layer, "green"))
    assert [plane.step for plane in planes] == [(t, z) for t in range(2) for z in range(3)]
    assert planes[4].name == "film_1_1"
    assert np.array_equal(planes[4].pixels, data[1, 1, ..., 1])
    labels = napari_layers.Labels(np.ones((2, 3, 4, 5), int), **labels_placement(layer))
    assert labels.data_to_world((1, 2, 0, 0)) == pytest.approx((10, 4, 0, 0))


def test_a_slider_outside_the_layer_takes_its_nearest_plane():
    layer = napari_layers.Image(np.arange(24).reshape(2, 3, 4), name="short")
    assert shown_plane(layer, (9, 0, 0)).step == (1,)


def test_a_cut_through_the_planes_is_none_of_them():
    stack = napari_layers.Image(np.zeros((2, 3, 4, 5)), name="stack")
    one = napari_layers.Labels(np.zeros((1, 4, 5), int))  # of one plane
    for order, ndisplay in (((0, 1, 2, 3), 2), ((1, 0, 3, 2), 2), ((0, 1, 2, 3), 3)):
        check_view(stack, Dims(ndim=4, order=order, ndisplay=ndisplay))
    cut = Dims(ndim=4, order=(0, 3, 1, 2))
    with pytest.raises(InputError, match="cut through the planes of stack"):
        check_view(stack, cut)
    check_view(one, cut)


def test_colors_of_a_layer_in_color():
    data = np.arange(2 * 4 * 5 * 4, dtype=np.uint8).reshape(2, 4, 5, 4)
    layer = napari_layers.Image(data, name="stain", rgb=True)
    assert np.array_equal(shown_plane(layer, (1, 0, 0)).pixels, data[1, ..., :3])
    assert np.array_equal(shown_plane(layer, (1, 0, 0), "blue").pixels, data[1, ..., 2])


def test_pyramids_give_their_finest_level():
    fine = np.arange(64).reshape(8, 8)
    layer = napari_layers.Image([fine, fine[::2, ::2]], name="pyramid", multiscale=True)
    assert np.array_equal(shown_plane(layer, (0, 0)).pixels, fine)


@pytest.mark.parametrize(
    ("scale", "units", "expected"),
    [
        ((0.5, 0.5), ("um", "um"), 0.5),
        ((500, 500), ("nm", "nm"), 0.5),
        ((0.5, 0.25), ("um", "um"), None),
        ((0.5, 0.5), ("pixel", "pixel"), None),
    ],
)
def test_pixel_size_from_the_scale(scale, units, expected):
    layer = napari_layers.Image(np.zeros((4, 4)), scale=scale, units=units)
    assert pixel_size_of(layer) == (pytest.approx(expected) if expected else None)
