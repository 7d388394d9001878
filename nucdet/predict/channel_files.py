"""Joins files that hold one channel each to images, by their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from nucdet.data.io.choice import choose_channel
from nucdet.errors import InputError
from nucdet.files import printable
from nucdet.image_names import compiled, composed, stem_of
from nucdet.predict.inputs import InputFile


def join_channels(
    files: Sequence[InputFile], pattern: str, channel: int | str | None
) -> list[InputFile]:
    """Join the files whose names, without extension, are the same but for what a pattern fits.

    Args:
        files: each holds one channel.
        pattern: a regular expression that fits a part of each file name, and whose (part) is the
            name of the channel.
        channel: name or number of the channel that shows the nuclei; None: the only one.

    Returns:
        The files of this channel with their :attr:`InputFile.channels`. The screen tells which
        others belong to none of them.

    Raises:
        InputError: the pattern is faulty or does not fit a name, two files are the same channel of
            an image, or there is no such channel.
    """
    images = _by_image(files, pattern)
    names = sorted({name for channels in images for name in channels})
    chosen = names[choose_channel(f"--channel-files {pattern}", names, channel)]
    if len(names) > 1 and max(map(len, images)) == 1:
        raise InputError(
            f"--channel-files {pattern}: found no two channels of an image, as the names of files "
            f"such as {files[0].file_name} also differ in what it does not fit; expected a regular "
            "expression that fits all that differs, such as _w([0-9]).*"
        )
    joined, lost = [], []
    for channels in images:
        if chosen in channels:
            paths = tuple((name, channels[name].path) for name in sorted(channels))
            joined.append(replace(channels[chosen], channels=paths))
        else:
            lost += channels.values()
    if lost:
        print(
            f"left out {len(lost)} of {len(files)} files, as their images have no channel {chosen} "
            f"({printable(lost[0].file_name)})"
        )
    return sorted(joined, key=lambda file: file.file_name)


def _by_image(files: Sequence[InputFile], pattern: str) -> list[dict[str, InputFile]]:
    """The files of each image by the name of the channel."""
    expression = compiled(pattern, f"--channel-files {pattern}: no regular expression")
    if expression.groups != 1:
        raise InputError(
            f"--channel-files {pattern}: has {expression.groups} (parts); expected one, which is "
            "the name of the channel, such as _w([0-9])"
        )
    images: dict[str, dict[str, InputFile]] = defaultdict(dict)
    for file in files:
        stem = composed(stem_of(file.file_name))
        match = expression.search(stem)
        if not match or not match[1]:
            raise InputError(
                f"--channel-files {pattern}: found no channel in {file.file_name}; expected a "
                "regular expression that fits every name, or another --input"
            )
        image = f"{stem[: match.start()]}\0{stem[match.end() :]}"
        other = images[image].setdefault(match[1], file)
        if other is not file:
            raise InputError(
                f"--channel-files {pattern}: found the channel {match[1]} of an image in "
                f"{other.file_name} and in {file.file_name}; expected one file"
            )
    return list(images.values())
