"""The user's options for a prediction run.

Nothing here imports PyTorch, so that mistakes in the options are reported at once.
"""

from __future__ import annotations

import argparse
import math
import numbers
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nucdet.data.io.choice import ALL, Choice
from nucdet.data.io.pixel_size import LEAST_UM, MOST_UM
from nucdet.errors import InputError
from nucdet.predict.formats import check_formats

# axes of a file along which nuclei can be linked
LINKED_AXES = ("z", "time")

# fields that do not affect the results for an image, or only through the config
_NOT_IN_RESULTS = {
    "input",
    "output",
    "save",
    "metadata",
    "resume",
    "config_file",
    "opts",
    "threshold",
    "outline_offset",
}


@dataclass(frozen=True)
class PredictOptions:
    """The options of ``nucdet-predict``: one field for each argument, with the same name.

    To add an option, add a field here, an argument in nucdet/commands/predict.py and the code that
    uses it; ``--resume`` then also checks that its value is unchanged. An option that sets a config
    key belongs in :attr:`overrides`.

    Attributes:
        output: the output folder; if several machines take part, they must share it.
        input: files, folders and patterns, see :func:`nucdet.predict.inputs.find_inputs`.
        save: names of :data:`nucdet.predict.formats.FORMATS`.
        config_file: the config of the network; None: the default model.
        opts: ``KEY VALUE`` pairs that override the config.
        channel, z, time, scene: what to read, see :class:`nucdet.data.io.choice.Choice`.
        channel_files: a regular expression for images with a file for each channel, see
            :func:`nucdet.predict.channel_files.join_channels`; None: each file is an image.
        link: "z" or "time": the axis along which nuclei of successive planes are linked, see
            :class:`nucdet.predict.linking.PlaneLinks`; None: none.
        diameter: see :meth:`nucdet.predict.Segmenter.predict`.
        threshold: TEST.SCORE_THRESHOLD; None: as in the config.
        outline_offset: TEST.OUTLINE_OFFSET, pixels; None: as in the config.
        exclude_border: leave out the nuclei that touch the border of the image.
        pixel_size: µm, for measurements; None: as stored in the file, or else measure in pixels.
        measure_channels: names or numbers of the channels to measure; empty: all.
        metadata: regular expressions and csv files, see
            :func:`nucdet.predict.metadata.read_metadata`.
        resume: skip the images that an earlier run has finished.

    Raises:
        InputError: an unknown format, or a number out of range.
    """

    output: Path
    input: tuple[str, ...] = ()
    save: tuple[str, ...] = ("label", "overlay", "csv")
    config_file: str | None = None
    opts: tuple[str, ...] = ()
    # reading
    channel: int | str | None = None
    z: int | str | None = None
    time: int | str | None = None
    scene: int | str | None = None
    channel_files: str | None = None
    link: str | None = None
    # network
    diameter: float | str | None = None
    threshold: float | None = None
    outline_offset: float | None = None
    # outputs
    exclude_border: bool = False
    pixel_size: float | None = None
    measure_channels: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    resume: bool = False

    def __post_init__(self):
        check_formats(self.save)
        # a Choice checks its values when it is made
        check_link(self.link, Choice(self.channel, self.z, self.time, self.scene))
        check_diameter(self.diameter)
        check_pixel_size(self.pixel_size, "--pixel-size")
        offset = self.outline_offset
        if offset is not None and not math.isfinite(offset):
            raise InputError(f"--outline-offset {offset}: expected a number of pixels")

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> PredictOptions:
        """The options among parsed arguments."""
        values = {field.name: getattr(args, field.name) for field in fields(cls)}
        values |= {name: tuple(v) for name, v in values.items() if isinstance(v, list)}
        if not args.output.strip():
            raise InputError("--output '': expected a folder (. for this one)")
        values["output"] = Path(args.output)
        values["config_file"] = args.config_file or None
        return cls(**values)

    @property
    def choice(self) -> Choice:
        """Which planes of each file are predicted."""
        return Choice(self.channel, self.z, self.time, self.scene)

    @property
    def overrides(self) -> tuple[str, ...]:
        """``opts``, followed by the config keys that other options set."""
        keys: dict[str, Any] = {
            "TEST.SCORE_THRESHOLD": self.threshold,
            "TEST.OUTLINE_OFFSET": self.outline_offset,
        }
        chosen = [(key, str(value)) for key, value in keys.items() if value is not None]
        return (*self.opts, *(text for pair in chosen for text in pair))

    def result_options(self) -> dict[str, Any]:
        """The options, by name, that affect the results in addition to the config's keys."""
        return {k: value for k, value in asdict(self).items() if k not in _NOT_IN_RESULTS}


def check_link(link: str | None, choice: Choice) -> None:
    """Raise InputError unless nuclei are linked along an axis of which all planes are chosen."""
    if link is None:
        return
    if link not in LINKED_AXES:
        raise InputError(f"--link {link}: expected {' or '.join(LINKED_AXES)}")
    chosen = choice.chosen().get(link)
    if chosen != ALL:
        found = "is not given" if chosen is None else f"is {chosen}"
        raise InputError(f"--link {link}: --{link} {found}; expected --{link} {ALL}")


def check_diameter(diameter: float | str | None) -> None:
    """Raise InputError unless the diameter is a number of pixels >= 1, "auto" or None."""
    if diameter is None or (isinstance(diameter, str) and diameter == "auto"):
        return
    if not isinstance(diameter, numbers.Real) or not 1 <= diameter < math.inf:
        raise InputError(f"diameter is {diameter!r}; expected a number of pixels >= 1 or 'auto'")


def check_pixel_size(pixel_size: float | None, name: str = "pixel_size") -> None:
    """Raise InputError unless the pixel size is a plausible number of µm, or None.

    Args:
        pixel_size: the value to check.
        name: its name in the error message.
    """
    if pixel_size is None:
        return
    if not isinstance(pixel_size, numbers.Real) or not LEAST_UM <= pixel_size <= MOST_UM:
        found = repr(pixel_size) if isinstance(pixel_size, str) else pixel_size
        raise InputError(f"{name} {found}: expected µm from {LEAST_UM:g} to {MOST_UM:g}")
