import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from nucdet.data.conversion.synthetic import make_synthetic
from nucdet.data.conversion.synthetic_images import LOOKS, draw_image
from nucdet.data.image_kinds import image_kind
from nucdet.data.io.reading import read_image
from nucdet.errors import InputError


def draw(look, seed=1, size=128, **options):
    return draw_image(np.random.default_rng(seed), size, look, **options)


@pytest.mark.parametrize("look", LOOKS)
def test_masks_lie_on_what_is_drawn(look):
    image, masks = draw(look, nuclei=12, diameter=18)
    assert image.shape == (128, 128, 3) and image.dtype == np.uint8
    assert masks.image_size == (128, 128) and 8 <= len(masks) <= 12
    assert image_kind(image) == look
    nuclei = masks.to_dense().any(axis=0)
    background = np.median(image[~nuclei].mean(axis=1))
    difference = image.mean(axis=2) - background
    signed = difference if look == "fluorescence" else -difference
    # nearly every pixel of a nucleus is on the nucleus' side of the background
    assert np.mean(signed[nuclei] > 10) > 0.95


def test_grey_looks_are_grey():
    for look in ("fluorescence", "bright_field"):
        image, _ = draw(look)
        assert (image == image[..., :1]).all()


def test_touching_and_overlapping_but_never_swallowed():
    shared = touching = 0
    for seed in range(6):
        dense = draw("fluorescence", seed, nuclei=25, diameter=16)[1].to_dense()
        cover = dense.sum(axis=0)
        shared += (cover > 1).sum()
        areas = dense.sum(axis=(1, 2))
        assert areas.min() > 0
        hidden = [(mask & (cover > 1)).sum() for mask in dense]
        assert (np.array(hidden) < 0.75 * areas).all()
        labels = (dense * np.arange(1, len(dense) + 1)[:, None, None]).max(axis=0)
        side = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
        touching += side.sum()
    assert shared > 0 and touching > 20


def test_same_state_same_image():
    one, two, other = (draw("stained_light", seed)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_data_set_on_disk(tmp_path):
    for name in ("a", "b"):
        make_synthetic(tmp_path / name, images=8, size=64, val_fraction=0.5, seed=3)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 8 + 2 + 1  # images, splits, the manifest
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    for split in ("train", "val"):
        path = tmp_path / f"a/annotations/instances_{split}.json"
        coco = json.loads(path.read_text())
        assert sorted(i["kind"] for i in coco["images"]) == sorted(LOOKS)
        assert {a["image_id"] for a in coco["annotations"]} <= {1, 2, 3, 4}
        for image in coco["images"]:
            assert read_image(tmp_path / "a" / image["file_name"]).shape == (64, 64, 3)
        for annotation in coco["annotations"]:
            assert coco_mask.decode(annotation["segmentation"]).sum() == annotation["area"] > 0


def test_a_image_does_not_depend_on_how_many_there_are(tmp_path):
    make_synthetic(tmp_path / "few", images=2, size=64, val_fraction=0.5)
    make_synthetic(tmp_path / "more", images=5, size=64, val_fraction=0.5)
    for name in ("00000.png", "00001.png"):
        few, more = (tmp_path / folder / "images" / name for folder in ("few", "more"))
        assert few.read_bytes() == more.read_bytes()


@pytest.mark.parametrize("options", [{"images": 1}, {"size": 8}, {"val_fraction": 1}, {"seed": -1}])
def test_numbers_out_of_range(tmp_path, options):
    with pytest.raises(InputError, match="expected"):
        make_synthetic(tmp_path, **options)


def test_a_split_without_images_is_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(InputError, match=r"for the split val .*choose more --images"):
        make_synthetic(tmp_path, images=2, size=64, val_fraction=0.01)
    assert not list(tmp_path.iterdir())
