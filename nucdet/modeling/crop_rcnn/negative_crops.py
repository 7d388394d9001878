"""Crops of images without nuclei, from CIFAR-10 or a folder, as negatives for a nucleus filter.

Report 000 trains and evaluates its filter on nuclei against CIFAR-10
(https://www.cs.toronto.edu/~kriz/cifar.html), whose official files torchvision reads.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor
from torchvision.datasets import CIFAR10

from nucdet.data.augment.color import grey_values
from nucdet.data.io.reading import read_image
from nucdet.errors import InputError
from nucdet.layers.stretching import stretch
from nucdet.modeling.crop_rcnn.crops import CROP_SIZE

_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
# crops drawn for each image of a batch
_CROPS_PER_IMAGE = 16
# every fifth image of a folder is held out for evaluation
_HELD_OUT = 5


class NegativeCrops:
    """Draws grey crops from CIFAR-10 or from other images, different ones in evaluation.

    Each image of CIFAR-10 is a crop; evaluation draws from its test images. Of other images, every
    fifth in the order of their names is held out for evaluation; a crop is a random square of one
    of them, resized. Its side lies between that of the crop and the shorter one of the image, drawn
    on a logarithmic scale.
    """

    def __init__(
        self,
        folder: str | Path,
        count: int,
        size: int,
        *,
        training: bool,
        normalize: str = "none",
        stretched: bool = False,
    ):
        """
        Args:
            folder: contains CIFAR-10's python version (the folder cifar-10-batches-py), or images,
                also in subfolders.
            count: how many crops are drawn at a time.
            size: their side, pixels.
            training: whether to draw from the images for training or from those for evaluation.
            normalize: INPUT.NORMALIZE, for images; CIFAR-10 has 8 bits and needs none.
            stretched: whether each image is first stretched, as CropRCNN stretches its input:
                :func:`nucdet.layers.stretching.stretch`.

        Raises:
            FileNotFoundError: there is no such folder.
            InputError: it contains neither CIFAR-10 nor two images, or a damaged CIFAR-10.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"MODEL.NUCLEUS_FILTER.OTHERS_FOLDER {folder}: no such folder; give one with "
                'CIFAR-10 or images, or ""'
            )
        self.count, self.size, self.training = count, size, training
        self.normalize, self.stretched = normalize, stretched
        self._small: np.ndarray | None = None
        name = CIFAR10.base_folder
        for cifar10 in (folder, *folder.rglob(name)):
            if cifar10.resolve().name == name:
                small = read_cifar10(cifar10.resolve(), training)
                self._small = _stretched(small) if stretched else small
                return
        images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
        if len(images) < 2:
            raise InputError(
                f"MODEL.NUCLEUS_FILTER.OTHERS_FOLDER {folder}: found {len(images)} images and "
                f"no {name}; expected two images or more"
            )
        held_out = images[::_HELD_OUT]
        self._images = sorted(set(images) - set(held_out)) if training else held_out

    @classmethod
    def from_config(cls, cfg: CfgNode, *, training: bool) -> NegativeCrops | None:
        """From MODEL.NUCLEUS_FILTER; None without an OTHERS_FOLDER or without a filter."""
        node = cfg.MODEL.NUCLEUS_FILTER
        if not node.OTHERS_FOLDER or node.MODE == "off":
            return None
        return cls(
            node.OTHERS_FOLDER,
            _CROPS_PER_IMAGE,
            CROP_SIZE,
            training=training,
            normalize=cfg.INPUT.NORMALIZE,
            stretched=cfg.MODEL.CROP_RCNN.STRETCH,
        )

    def __call__(self, image_id: int | str) -> Tensor:
        """(count, 1, size, size) uint8; in evaluation always the same ones for the same image."""
        by_image = zlib.crc32(str(image_id).encode())
        rng = np.random.default_rng(np.random.randint(2**31) if self.training else by_image)
        crops = [self._one(rng) for _ in range(self.count)]
        if not crops:
            return torch.zeros(0, 1, self.size, self.size, dtype=torch.uint8)
        return torch.from_numpy(np.stack(crops))[:, None]

    def _one(self, rng: np.random.Generator) -> np.ndarray:
        if self._small is not None:
            return self._resized(self._small[rng.integers(len(self._small))])
        path = self._images[rng.integers(len(self._images))]
        image = _read_grey(path, self.normalize, self.stretched)
        shorter = min(image.shape)
        smallest = min(self.size, shorter)
        side = round(smallest * (shorter / smallest) ** rng.random())
        y, x = (rng.integers(length - side + 1) for length in image.shape)
        return self._resized(image[y : y + side, x : x + side])

    def _resized(self, crop: np.ndarray) -> np.ndarray:
        return cv2.resize(crop, (self.size, self.size), interpolation=cv2.INTER_AREA)


def read_cifar10(folder: Path, training: bool) -> np.ndarray:
    """The training or test images of CIFAR-10 in grey: the mean of the three channels.

    Its files are pickles, which could run any code; torchvision refuses to load files without the
    official checksum.

    Args:
        folder: cifar-10-batches-py, as in the archive of the python version.
        training: True for the training images, False for the test images.

    Returns:
        (N, 32, 32) uint8.

    Raises:
        InputError: a file is missing or not the official one.
    """
    try:
        images = CIFAR10(folder.parent, train=training).data
    except RuntimeError as error:
        raise InputError(
            f"{folder}: a file of CIFAR-10's python version is missing or differs from the official"
            " one; unpack cifar-10-python.tar.gz again"
        ) from error
    return grey_values(images.reshape(-1, *images.shape[2:])).reshape(images.shape[:3])


@lru_cache(maxsize=128)
def _read_grey(path: Path, normalize: str, stretched: bool) -> np.ndarray:
    """(H, W) uint8, the mean of the channels, as for INPUT.FORMAT "L"."""
    grey = grey_values(read_image(path, normalize=normalize))
    return _stretched(grey) if stretched else grey


def _stretched(images: np.ndarray) -> np.ndarray:
    """Images (…, H, W) uint8, each stretched to 0–255 with a dark background."""
    return (255 * stretch(torch.from_numpy(images))).round().to(torch.uint8).numpy()
