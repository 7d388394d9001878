"""A raw DSB2018 tree of tiny images: discs on a textured background, sure to be no tiles."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from nucdet.data.conversion.dsb2018 import convert_dsb2018
from nucdet.errors import InputError


def disc(height, width, y, x, radius):
    """Bool (height, width) disc around (y, x)."""
    rows, columns = np.ogrid[:height, :width]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


class RawTree:
    """Kaggle's folders under ``root``; ``masks`` holds what was written, by image and file."""

    def __init__(self, root):
        self.root = root
        self.masks = {}

    def add(self, name, masks, stage="stage1_train", bright=False, seed=None):
        """Write one image; None for masks makes no masks folder."""
        height, width = masks[0].shape if masks else (40, 50)
        seed = sum(name.encode()) if seed is None else seed
        background = np.random.default_rng(seed).normal(200 if bright else 20, 8, (height, width))
        for mask in masks or []:
            background[mask] = 100
        image = np.repeat(np.clip(background, 0, 255).astype(np.uint8)[..., None], 4, axis=2)
        image[..., 3] = 255
        folder = self.root / stage / name
        (folder / "images").mkdir(parents=True)
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        if masks is not None:
            (folder / "masks").mkdir()
            self.masks[name] = masks
            for i, mask in enumerate(masks):
                cv2.imwrite(str(folder / "masks" / f"m{i:03d}.png"), mask.astype(np.uint8) * 255)
        return folder

    def load(self, split):
        """The COCO JSON of a split."""
        return json.loads((self.root / f"annotations/instances_{split}.json").read_text())

    def names(self, split):
        """The names of the images of a split."""
        return {image["file_name"].split("/")[1] for image in self.load(split)["images"]}


@pytest.fixture
def raw_tree(tmp_path):
    """Twenty images of 40x50, ten dark and ten bright, with 1 to 3 nuclei."""
    tree = RawTree(tmp_path / "dsb2018")
    for i in range(20):
        masks = [disc(40, 50, 10 + 3 * k, 8 + 15 * k, 4 + i % 3) for k in range(1 + i % 3)]
        tree.add(f"p{i:02d}", masks, bright=i % 2 == 1, seed=i)
    return tree


@pytest.fixture
def fails(raw_tree, capsys):
    """A conversion of the tree that must fail and write nothing: its error, and what it lists."""

    def convert(**options):
        with pytest.raises(InputError) as error:
            convert_dsb2018(raw_tree.root, **options)
        assert not (raw_tree.root / "annotations").exists()
        return str(error.value), capsys.readouterr().err

    return convert
