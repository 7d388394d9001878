"""Chooses planes of a file with scenes, channels, depths and times."""

from __future__ import annotations

import numbers
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from nucdet.errors import InputError

ALL = "all"
COLORS = ("red", "green", "blue")
_PROJECTIONS = ("max", "mean")


class Place(NamedTuple):
    """The position of a plane in its file.

    Attributes:
        time: index of the time, from 0.
        z: index of the depth, from 0, or "max" or "mean": the projection over all depths.
    """

    time: int = 0
    z: int | str = 0


@dataclass(frozen=True)
class Choice:
    """The choice along each axis; ignored for an axis of length 1.

    Attributes:
        channel: name, or index from 0; None: the only one. RGB counts as one channel, of which one
            color can be chosen as "red", "green", "blue" or 0, 1, 2.
        z: index of the depth from 0; "max" or "mean": the projection over all depths; "all": each
            depth; None: the only one.
        time: index from 0; "all": each time; None: the only one.
        scene: name, or index from 0; None: the only one.

    Raises:
        InputError: another text.
    """

    channel: int | str | None = None
    z: int | str | None = None
    time: int | str | None = None
    scene: int | str | None = None

    def __post_init__(self):
        for axis, wanted in (("channel", self.channel), ("scene", self.scene)):
            if wanted == "":
                raise InputError(f"--{axis} is empty; expected a name or a number from 0")
        if isinstance(self.z, str) and self.z not in (*_PROJECTIONS, ALL):
            raise InputError(f"--z {self.z}: expected max, mean, all or a number from 0")
        if isinstance(self.time, str) and self.time != ALL:
            raise InputError(f"--time {self.time}: expected all or a number from 0")

    @property
    def asks_for_all(self) -> bool:
        """Whether a file may contribute several planes."""
        return ALL in (self.z, self.time)

    def chosen(self) -> dict[str, int | str]:
        """What is chosen, by axis, without the axes for which nothing is."""
        return {axis: value for axis, value in asdict(self).items() if value is not None}


def options_text(chosen: Mapping[str, int | str]) -> str:
    """The command line options that make a choice.

    Args:
        chosen: see :meth:`Choice.chosen`.

    Example:
        >>> options_text({"channel": "Alexa 488", "z": "max"})
        "--channel 'Alexa 488' --z max"
    """
    return shlex.join(text for axis, value in chosen.items() for text in (f"--{axis}", str(value)))


def choose_channel(path: object, names: Sequence[str], channel: int | str | None) -> int:
    """The index of the chosen channel.

    Args:
        path: name of the file in errors.
        names: of its channels, "" if unknown.
        channel: see :class:`Choice`.

    Raises:
        InputError: there are several and none is chosen, or there is no such channel; the message
            lists the channels.
    """
    return _choose(path, names, channel, "channel", "say which shows the nuclei")


def choose_scene(path: object, names: Sequence[str], scene: int | str | None) -> int:
    """The index of the chosen scene; arguments and errors as in :func:`choose_channel`."""
    return _choose(path, names, scene, "scene", "say which is wanted")


def choose_color(path: object, channel: int | str | None) -> int | None:
    """The index of the chosen color of an RGB image; None: all three.

    Raises:
        InputError: there is no such color.
    """
    if channel is None:
        return None
    initials = {name[0]: name for name in COLORS}
    if isinstance(channel, str):
        channel = initials.get(channel.casefold(), channel)
    return choose_channel(path, COLORS, channel)


def _choose(
    path: object, names: Sequence[str], wanted: int | str | None, what: str, request: str
) -> int:
    if len(names) == 1:
        return 0
    listed = ", ".join(f"{i} {name}".strip() for i, name in enumerate(names))
    if wanted is None:
        raise InputError(
            f"{path}: holds {len(names)} {what}s ({listed}); {request}, by number or name: "
            f"--{what} K (in Python {what}=K)"
        )
    number = number_of(names, wanted)
    if number is not None:
        return number
    if _folded(wanted) in map(_folded, names):
        raise InputError(
            f"{path}: several {what}s are called {wanted}; choose one by its number: {listed}"
        )
    raise InputError(f"{path}: no {what} {wanted}; its {what}s are {listed}")


def number_of(names: Sequence[str], wanted: int | str) -> int | None:
    """The index from 0 of what is wanted by name or number; None: there is no such one.

    A name takes precedence over a number, because it may consist of digits, as a wavelength does.
    Its case and the number of spaces count only if two names differ in nothing else.
    """
    for known, name in (
        (list(names), str(wanted)),
        ([_folded(name) for name in names], _folded(wanted)),
    ):
        if known.count(name) == 1:
            return known.index(name)
    if str(wanted).isdecimal() and int(wanted) < len(names):
        return int(wanted)
    return None


def _folded(name: int | str) -> str:
    return " ".join(str(name).casefold().split())


def choose_times(path: object, times: int, choice: Choice) -> list[int]:
    """The indices of the chosen times.

    Args:
        path: name of the file in errors.
        times: how many it has.
        choice: of its planes.

    Raises:
        InputError: there are several and none is chosen, or there is no such time.
    """
    return _choose_numbers(path, "times", "--time K (in prediction also all)", times, choice.time)


def choose_depths(path: object, depths: int, choice: Choice) -> list[int | str]:
    """As :func:`choose_times`, for depths; a projection counts as a single depth."""
    if depths > 1 and choice.z in _PROJECTIONS:
        return [choice.z]
    return _choose_numbers(
        path, "depths", "--z max, mean or K (in prediction also all)", depths, choice.z
    )


def _choose_numbers(
    path: object, what: str, flag: str, length: int, number: int | str | None
) -> list[int]:
    if length == 1:
        return [0]
    if number is None:
        raise InputError(f"{path}: holds {length} {what}; choose with {flag}")
    if number == ALL:
        return list(range(length))
    if not isinstance(number, numbers.Integral) or not 0 <= number < length:
        raise InputError(f"{path}: no number {number} among its {what}, 0 to {length - 1}")
    return [int(number)]
