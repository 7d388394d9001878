"""Which plane of a file with channels, depths and times is wanted."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass

from nucdet.errors import InputError


@dataclass(frozen=True)
class Choice:
    """What to take along each axis; an axis of length 1 ignores it.

    Attributes:
        channel: number from 0, or name; None: the only one. RGB counts as one.
        z: number of the depth from 0, "max" or "mean" over all; None: the only one.
        time: number from 0; None: the only one.

    Raises:
        InputError: a text that is none of these.
    """

    channel: int | str | None = None
    z: int | str | None = None
    time: int | None = None

    def __post_init__(self):
        if isinstance(self.z, str) and self.z not in ("max", "mean"):
            raise InputError(f"--z {self.z}: expected max, mean or a number from 0")


def number_or_name(text: str) -> int | str:
    """An argument as a number where it is one."""
    return int(text) if text.isdecimal() else text


def choose_channel(path: object, names: Sequence[str], channel: int | str | None) -> int:
    """The number of the channel that is wanted.

    Args:
        path: what errors call the file.
        names: of its channels, "" where unknown.
        channel: see :class:`Choice`.

    Raises:
        InputError: several and none chosen, or no such channel; the channels are listed.
    """
    if len(names) == 1:
        return 0
    listed = ", ".join(f"{i} {name}".strip() for i, name in enumerate(names))
    if channel is None:
        raise InputError(
            f"{path}: holds {len(names)} channels ({listed}); say which shows the nuclei, by "
            "number or name: --channel K (in Python channel=K)"
        )
    folded = [name.casefold() for name in names]
    if isinstance(channel, str):
        if folded.count(channel.casefold()) == 1:
            return folded.index(channel.casefold())
    elif isinstance(channel, numbers.Integral) and 0 <= channel < len(names):
        return int(channel)
    raise InputError(f"{path}: no channel {channel}; its channels are {listed}")


def choose_number(path: object, what: str, flag: str, length: int, number: int | None) -> int:
    """The number of the depth or time that is wanted.

    Raises:
        InputError: several and none chosen, or no such one.
    """
    if length == 1:
        return 0
    if number is None:
        raise InputError(f"{path}: holds {length} {what}; choose with {flag}")
    if not 0 <= number < length:
        raise InputError(f"{path}: no number {number} among its {what}, 0 to {length - 1}")
    return number
