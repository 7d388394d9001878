"""Images whose channels lie in files of their own, as microscopes for plates write them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from nucdet.data.io.choice import Choice, Place
from nucdet.data.io.normalization import Box
from nucdet.data.io.planes import Planes, open_planes
from nucdet.data.io.windows import ImageWindows
from nucdet.errors import InputError

_Path = str | os.PathLike[str]


def open_files(
    path: _Path,
    choice: Choice | None = None,
    channel_files: Mapping[str, _Path] | None = None,
    normalize: str = "none",
) -> Planes:
    """Open an image of one file, or with one file for each channel.

    Args:
        path: the file that shows the nuclei.
        choice: of planes in each file; its channel is ignored if there are several.
        channel_files: the file of each channel by its name, among them ``path``; None or empty:
            ``path`` is the whole image.
        normalize: see :func:`open_planes`.

    Raises:
        FileNotFoundError, InputError: see :func:`open_planes`; or a file has several channels,
            another size or other planes than ``path``, or this is none of the files.
    """
    if not channel_files:
        return open_planes(path, choice, normalize)
    path, files = Path(path), {name: Path(file) for name, file in channel_files.items()}
    chosen = next((name for name, file in files.items() if file == path), None)
    if chosen is None:
        listed = ", ".join(map(str, files.values()))
        raise InputError(f"{path}: is no file of a channel; expected one of {listed}")
    choice = replace(choice or Choice(), channel=None)
    opened = {
        name: open_planes(file, choice, normalize if name == chosen else "none")
        for name, file in files.items()
    }
    planes = opened[chosen]
    for name, others in opened.items():
        if others.places != planes.places:
            raise InputError(
                f"{files[name]}: has {len(others)} planes; expected {len(planes)}, as in {path}"
            )

    def open_place(place: Place) -> ImageWindows:
        sources = {name: others.at(place) for name, others in opened.items()}
        for name, source in sources.items():
            _check_alike(files[name], source, path, sources[chosen])
        return ChannelFiles(sources, chosen)

    return planes.opened_by(open_place)


def _check_alike(path: Path, source: ImageWindows, model_path: Path, model: ImageWindows) -> None:
    if len(source.channel_names) > 1:
        raise InputError(
            f"{path}: has {len(source.channel_names)} channels; expected one, as each channel has "
            "a file of its own"
        )
    if source.size != model.size:
        found, expected = (f"{width} × {height}" for height, width in (source.size, model.size))
        raise InputError(f"{path}: is {found} pixels; expected {expected}, as {model_path}")


class ChannelFiles(ImageWindows):
    """One channel of an image, of which the others can be measured too."""

    def __init__(self, sources: Mapping[str, ImageWindows], chosen: str):
        """
        Args:
            sources: grey images of equal size, by the name of the channel.
            chosen: the channel that a network sees.
        """
        # no super().__init__, as the sources hold the pixels
        self._sources, self._image = sources, sources[chosen]
        self.size, self.pixel_size = self._image.size, self._image.pixel_size
        self.place, self.stack_size = self._image.place, self._image.stack_size
        self.is_whole_file = self._image.is_whole_file
        self.channel_names = tuple(sources)

    @property
    def is_color(self) -> bool:
        return False

    def values(self, box: Box) -> np.ndarray:
        return self._image.values(box)

    def read(self, box: Box) -> np.ndarray:
        return self._image.read(box)

    def channel_reader(self) -> Callable[[Box], np.ndarray]:
        readers = [source.channel_reader() for source in self._sources.values()]
        return lambda box: np.concatenate([read(box) for read in readers])
