"""Reads microscopes' formats with bioio, an optional extra: ``pip install 'nucdet[formats]'``.

bioio and its readers are imported only when such a file is read.
"""

from __future__ import annotations

import platform
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from nucdet.data.io.choice import choose_scene
from nucdet.data.io.pixel_size import sane_length, sane_pixel_size
from nucdet.data.io.stacks import Stack
from nucdet.errors import InputError

# file extensions and the packages that read them
BIOIO_READERS = {
    ".czi": "bioio_czi",
    ".nd2": "bioio_nd2",
    ".lif": "bioio_lif",
    ".dv": "bioio_dv",
    ".zarr": "bioio_ome_zarr",
}
# microscopes' formats that are not supported
FOREIGN_ENDINGS = (
    ".svs",
    ".ndpi",
    ".vsi",
    ".oib",
    ".oif",
    ".oir",
    ".mrxs",
    ".ims",
    ".scn",
    ".zvi",
)


class BioioStack(Stack):
    """A scene of a file that one of bioio's readers opens; planes are read on demand."""

    def __init__(self, path: Path, scene: int | str | None = None):
        """
        Args:
            path: of the file.
            scene: see :class:`nucdet.data.io.choice.Choice`.

        Raises:
            InputError: the reader is not installed, the file is damaged, none of several scenes is
                chosen, or there is no such scene.
        """
        self.path = path
        name = BIOIO_READERS[path.suffix.lower()]
        try:
            reader = import_module(name).Reader
            bio_image = import_module("bioio").BioImage
        except ImportError as error:
            raise InputError(
                f"{path}: reading {path.suffix} needs the package {name.replace('_', '-')} "
                f"({error}); {_remedy(name)}"
            ) from None
        # for damaged files, readers may raise nearly anything
        try:
            image = bio_image(path, reader=reader)
            image.set_scene(choose_scene(path, [str(name) for name in image.scenes], scene))
            dims = image.dims
            self._image: Any = image
            self.times, self.depths = int(dims.T), int(dims.Z)
            self.is_color = "S" in dims.order
            # DV files name channels by wavelength, as a number
            self.channels = tuple(map(str, image.channel_names or [""] * int(dims.C)))
            sizes = image.physical_pixel_sizes
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{path}: cannot be read ({error}); expected a whole file") from error
        self.pixel_size, self.z_step = sane_pixel_size(sizes.X, sizes.Y), sane_length(sizes.Z)

    def plane(self, time: int, channel: int, z: int) -> np.ndarray:
        order = "YXS" if self.is_color else "YX"
        try:
            pixels = self._image.get_image_dask_data(order, T=time, C=channel, Z=z).compute()
        except Exception as error:
            raise InputError(f"{self.path}: damaged ({error}); expected a whole file") from error
        return np.ascontiguousarray(pixels[..., :3] if self.is_color else pixels)


def is_image(path: Path) -> bool:
    """Whether a path is a file, or the folder of an OME-Zarr."""
    return path.is_file() or (path.is_dir() and path.suffix.lower() == ".zarr")


def needs_bioio(path: Path) -> bool:
    """Whether the extension is that of a format that bioio reads.

    Raises:
        InputError: it is that of a microscope's format that is not supported.
    """
    if path.suffix.lower() in FOREIGN_ENDINGS:
        raise InputError(
            f"{path}: {path.suffix} files are not read; export the image as OME-TIFF, for example "
            "with Fiji's Bio-Formats or QuPath"
        )
    return path.suffix.lower() in BIOIO_READERS


def _remedy(reader: str) -> str:
    """What to do about a reader that is not installed, as the extra in pyproject.toml has it."""
    if reader == "bioio_czi":
        if (sys.platform, platform.machine()) == ("linux", "aarch64"):
            return "it has no build for Linux on ARM; export the file as OME-TIFF"
        if sys.version_info >= (3, 14):
            return "install nucdet on Python 3.13 or older, or export the file as OME-TIFF"
    return "pip install 'nucdet[formats]'"
