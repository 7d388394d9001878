import cv2
import numpy as np
import pytest

from nucdet.data.conversion import tiles
from nucdet.data.conversion.tiles import borders_of, group_tiles


def field(seed, height=80, width=100):
    """A textured image (height, width, 3) as a camera sees it: smooth, with a little noise."""
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), 2.5)
    image = 120 + 400 * smooth + rng.normal(size=(height, width))
    return np.repeat(np.clip(image, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def quarters(image):
    h, w = image.shape[0] // 2, image.shape[1] // 2
    return [image[y : y + h, x : x + w] for y in (0, h) for x in (0, w)]


@pytest.mark.parametrize("chunk", [1, 7 * 24, 1 << 24], ids=["one by one", "by sevens", "at once"])
def test_tiles_of_one_image_are_found(chunk, monkeypatch):
    monkeypatch.setattr(tiles, "_CHUNK", chunk)
    images = [tile for seed in range(6) for tile in quarters(field(seed))]
    # dealt so that neighbors in the list are not neighbors in an image
    order = np.random.default_rng(0).permutation(len(images))
    groups = group_tiles([borders_of(images[i]) for i in order])
    expected = {}
    expected = [expected.setdefault(i // 4, len(expected) + 1) for i in order.tolist()]
    assert groups == expected


def test_unrelated_empty_and_lone_images_stay_alone():
    flat = [np.full((40, 50, 3), value, np.uint8) for value in (0, 9, 200)]
    narrow = [np.full((1, 1, 3), 3, np.uint8)]
    others = [field(seed, 40, 50) for seed in range(8)]
    borders = [borders_of(image) for image in flat + narrow + others]
    assert group_tiles(borders) == list(range(1, 13))
    assert group_tiles([]) == []


def test_copies_and_named_links_are_joined():
    images = [field(1), field(2), field(1), field(3, 60, 60)]
    borders = [borders_of(image) for image in images]
    assert group_tiles(borders) == [1, 2, 1, 3]
    assert group_tiles(borders, links=[(1, 3)]) == [1, 2, 1, 2]
