"""Choose names for drawn images, and write them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nucdet.errors import InputError
from nucdet.files import write_atomically


def image_names(file_names: Sequence[str]) -> list[str]:
    """Names for images drawn from these files: the stem and ``.png``.

    If several files have the same stem, their folders (below the common folder of all files) and
    extensions are added, and if that is still ambiguous, a number.

    Example:
        >>> image_names(["in/day1/a.tif", "in/day1/b.tif", "in/day2/b.tif"])
        ['a.png', 'day1_b.tif.png', 'day2_b.tif.png']
    """
    paths = [Path(name) for name in file_names]
    count = Counter(path.stem for path in paths)
    if max(count.values(), default=1) == 1:
        return [f"{path.stem}.png" for path in paths]
    shared = os.path.commonpath([path.parent for path in paths])
    flat = ["_".join(path.relative_to(shared).parts) for path in paths]
    stems = [p.stem if count[p.stem] == 1 else name for p, name in zip(paths, flat, strict=True)]
    owners: dict[str, Path] = {}
    return [_free_name(stem, path, owners) for stem, path in zip(stems, paths, strict=True)]


def _free_name(stem: str, path: Path, owners: dict[str, Path]) -> str:
    """The first of ``stem``, ``stem_2``, … that no other file has; it is added to ``owners``."""
    name, number = f"{stem}.png", 1
    while owners.setdefault(name, path) != path:
        number += 1
        name = f"{stem}_{number}.png"
    return name


def save_png(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write uint8 (H, W, 3) RGB atomically, replacing an existing file."""
    with write_atomically(path) as temporary:
        # twice as fast as the default level, and a tenth larger
        Image.fromarray(image).save(temporary, compress_level=4)


def check_number(num: int | None) -> None:
    """Raise InputError if the number of images is below 1; None stands for all."""
    if num is not None and num < 1:
        raise InputError(f"{num} images asked for; expected 1 or more (leave it out: all)")
