"""Keeps decoded images in memory."""

from __future__ import annotations

import numpy as np

from nucdet.data.io.reading import read_image


class ImageCache:
    """read_image that caches the images it reads first, up to a limit of memory."""

    def __init__(self, mebibytes: float, normalize: str = "none"):
        """
        Args:
            mebibytes: limit of the cache; 0: nothing is cached.
            normalize: INPUT.NORMALIZE, for all images.
        """
        self._normalize = normalize
        self._free = mebibytes * 2**20
        self._images: dict[str, np.ndarray] = {}

    def __call__(self, path: str) -> np.ndarray:
        """uint8 RGB (H, W, 3), which is read-only if it is cached.

        Raises:
            FileNotFoundError, InputError: see :func:`read_image`.
        """
        if path in self._images:
            return self._images[path]
        image = read_image(path, normalize=self._normalize)
        if image.nbytes <= self._free:
            self._free -= image.nbytes
            image.flags.writeable = False
            self._images[path] = image
        return image
