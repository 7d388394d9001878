"""Small pictures without nuclei, a folder's or CIFAR-10's, on which a nucleus filter learns.

Report 000 trains and measures its filter on nuclei against CIFAR-10
(https://www.cs.toronto.edu/~kriz/cifar.html), whose own files are read as they unpack.
"""

from __future__ import annotations

import io
import pickle
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor

from nucdet.data.augment.colour import grey_values
from nucdet.data.io.reading import read_image
from nucdet.errors import InputError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
# one in so many pictures of a folder is kept for evaluation
_HELD_OUT = 5
_CIFAR_SIDE = 32
_CIFAR_BYTES = 3 * _CIFAR_SIDE**2
# all that a pickle of CIFAR-10 needs; another one could run anything
_SAFE = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class NegativeCrops:
    """Draws grey crops from CIFAR-10's files or from any pictures, another set in evaluation.

    CIFAR-10 brings a set for each (``data_batch_*``, ``test_batch``). Of other pictures, every
    fifth in the order of their names is left to evaluation; a crop is a square of any size and
    place in one of them, resized.
    """

    def __init__(
        self,
        folder: str | Path,
        count: int,
        size: int,
        *,
        training: bool,
        normalize: str = "none",
    ):
        """
        Args:
            folder: with CIFAR-10's batches (python or binary version), or with pictures, also in
                folders below it.
            count: how many crops are drawn at a time.
            size: their side, pixels.
            training: which of the two sets.
            normalize: INPUT.NORMALIZE, for pictures; CIFAR-10's have no depth but 8 bits.

        Raises:
            FileNotFoundError: there is no such folder.
            InputError: it holds neither, or a damaged batch.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"MODEL.NUCLEUS_FILTER.OTHERS_FOLDER {folder}: no such folder; give one with "
                'CIFAR-10 or pictures, or ""'
            )
        self.count, self.size, self.training = count, size, training
        self.normalize = normalize
        self._small: np.ndarray | None = None
        batches = sorted(folder.rglob("data_batch_*" if training else "test_batch*"))
        if batches:
            self._small = np.concatenate([read_cifar10(path) for path in batches])
            return
        pictures = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
        if len(pictures) < 2:
            raise InputError(
                f"MODEL.NUCLEUS_FILTER.OTHERS_FOLDER {folder}: found {len(pictures)} pictures and "
                "no batches of CIFAR-10; expected two pictures or more"
            )
        held_out = pictures[::_HELD_OUT]
        self._pictures = sorted(set(pictures) - set(held_out)) if training else held_out

    @classmethod
    def from_config(cls, cfg: CfgNode, *, training: bool) -> NegativeCrops | None:
        """What MODEL.NUCLEUS_FILTER.OTHERS_* describes; None where it asks for nothing."""
        node = cfg.MODEL.NUCLEUS_FILTER
        if not node.OTHERS_FOLDER or node.MODE == "off":
            return None
        size = cfg.MODEL.CROP_RCNN.CROP_SIZE
        return cls(
            node.OTHERS_FOLDER,
            node.OTHERS_PER_IMAGE,
            size,
            training=training,
            normalize=cfg.INPUT.NORMALIZE,
        )

    def __call__(self, image_id: int | str) -> Tensor:
        """uint8 (count, 1, size, size); in evaluation the same ones each time for an image."""
        by_image = zlib.crc32(str(image_id).encode())
        rng = np.random.default_rng(np.random.randint(2**31) if self.training else by_image)
        crops = [self._one(rng) for _ in range(self.count)]
        if not crops:
            return torch.zeros(0, 1, self.size, self.size, dtype=torch.uint8)
        return torch.from_numpy(np.stack(crops))[:, None]

    def _one(self, rng: np.random.Generator) -> np.ndarray:
        if self._small is not None:
            return self._resized(self._small[rng.integers(len(self._small))])
        picture = _read_grey(self._pictures[rng.integers(len(self._pictures))], self.normalize)
        shorter = min(picture.shape)
        smallest = min(self.size, shorter)
        side = round(smallest * (shorter / smallest) ** rng.random())
        y, x = (rng.integers(length - side + 1) for length in picture.shape)
        return self._resized(picture[y : y + side, x : x + side])

    def _resized(self, crop: np.ndarray) -> np.ndarray:
        return cv2.resize(crop, (self.size, self.size), interpolation=cv2.INTER_AREA)


def read_cifar10(path: Path) -> np.ndarray:
    """A batch of CIFAR-10 as uint8 (N, 32, 32), the mean of its colours.

    Raises:
        InputError: not a batch of the python or binary version.
    """
    data = path.read_bytes()
    try:
        if path.suffix == ".bin":  # each picture after a byte with its class
            pixels = np.frombuffer(data, np.uint8).reshape(-1, 1 + _CIFAR_BYTES)[:, 1:]
        else:
            batch = _CifarUnpickler(io.BytesIO(data), encoding="bytes").load()
            pixels = np.asarray(batch[b"data"], np.uint8)
        colours = pixels.reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE)
    except (ValueError, TypeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path}: not a batch of CIFAR-10 ({error}); expected its python or binary version, "
            "unpacked"
        ) from error
    return colours.mean(axis=1).round().astype(np.uint8)


class _CifarUnpickler(pickle.Unpickler):
    """Reads arrays, bytes and containers, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SAFE:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


@lru_cache(maxsize=128)
def _read_grey(path: Path, normalize: str) -> np.ndarray:
    """uint8 (H, W); the mean of the colours, as INPUT.FORMAT "L"."""
    return grey_values(read_image(path, normalize=normalize))
