"""Command-line arguments that have the same name and meaning in all commands.

Nothing here imports PyTorch or Detectron2, so that ``--help`` and usage errors appear at once.
"""

from __future__ import annotations

import argparse
import functools
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nucdet.config_files import find_config
from nucdet.errors import run_tool
from nucdet.lifetime import end_with_parent


def command(main: Callable[[], int | None]) -> Callable[[], None]:
    """Turn ``main``, which parses ``sys.argv`` and returns an exit code, into a console command.

    The scripts in ``tools/`` and the console commands of an installed nucdet both call the result.
    It ends the process; see :func:`nucdet.errors.run_tool` for how user errors are reported.
    """

    # A worker process of --num-gpus imports its command first and then PyTorch, which takes
    # seconds; it must end with its parent from the beginning.
    if "--multiprocessing-fork" in sys.orig_argv:
        end_with_parent()

    @functools.wraps(main)
    def run() -> None:
        run_tool(main)

    return run


@contextmanager
def quick_imports() -> Iterator[None]:
    """Disable garbage collection while importing PyTorch and the packages that build on it.

    This saves a sixth of the CPU time. Later collections also skip the hundreds of thousands of
    objects that the imports created.
    """
    gc.disable()
    try:
        yield
    finally:
        # nucdet does not use triton. If another package has loaded it, freezing its objects would
        # print a hundred lines about uncollected objects when the process ends.
        if "triton" not in sys.modules:
            gc.freeze()
        gc.enable()


def command_parser(description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """A parser that prints its description and epilog without re-wrapping them.

    Args:
        description: usually the docstring of a module. ``%(prog)s`` becomes the command's name;
            other percent signs must be doubled.
        epilog: text below the list of arguments, in the same form.
    """
    return argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


class DefaultsFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Appends the argument's default to its help text, unless it is None, False or empty."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, "", ()):
            return action.help
        return super()._get_help_string(action)


def add_config(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add ``--config-file`` and the ``KEY VALUE`` pairs that override it (``opts``, a list).

    Args:
        parser: the parser to add them to.
        default: for the help text: what is used without a config file. None: it is required.
    """
    text = "path of a yaml, or name of one of nucdet's, e.g. DSB2018/mask_rcnn_lite0_FPN.yaml"
    parser.add_argument(
        "--config-file",
        type=config_file,
        required=default is None,
        default="",
        metavar="FILE",
        help=text if default is None else f"{text} (default: {default})",
    )
    parser.add_argument(
        "opts",
        nargs="*",
        metavar="KEY VALUE",
        help="config keys and values that override the config file",
    )


def config_file(text: str) -> str:
    """The path of a config file that is given by its path or by the name of one of nucdet's own.

    If it lies below the current directory, the path is relative, so that logs and manifests do not
    contain folders of this machine.

    Raises:
        FileNotFoundError: there is no such config file.
    """
    if not text or Path(text).is_file():
        return text
    path = find_config(text)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def add_output(parser: argparse.ArgumentParser, help: str, default: str | None = None) -> None:
    """Add ``--output-dir``, a folder that is created if it does not exist.

    Args:
        parser: the parser to add it to.
        help: what the folder is for.
        default: the default folder; None: the argument is required.
    """
    parser.add_argument(
        "--output-dir",
        required=default is None,
        default=default,
        metavar="DIR",
        help=help if default is None else f"{help} (default: %(default)s)",
    )


def add_devices(parser: argparse.ArgumentParser) -> None:
    """Add the numbers of processes and machines for :func:`nucdet.processes.run_processes`.

    The names and meanings are the same as in Detectron2's own tools.
    """
    add = parser.add_argument
    add(
        "--num-gpus",
        type=int,
        default=1,
        metavar="N",
        help="number of processes on each machine, one per GPU (default: 1, also without a GPU)",
    )
    add(
        "--num-machines",
        type=int,
        default=1,
        metavar="N",
        help="number of machines, which must share the output folder (default: 1)",
    )
    add("--machine-rank", type=int, default=0, metavar="K", help="index of this machine, from 0")
    add(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="address at which several machines find each other: tcp://<first machine>:<port>",
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``, the number of processes that work on files in parallel."""
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="number of processes (default: %(default)s, one per core)",
    )


def add_split(parser: argparse.ArgumentParser, val_fraction: float) -> None:
    """Add ``--val-fraction`` and ``--seed``: how a converter splits a data set.

    Args:
        parser: the parser to add them to.
        val_fraction: the default of ``--val-fraction``.
    """
    parser.add_argument(
        "--val-fraction",
        type=float,
        default=val_fraction,
        help="fraction of the training images that becomes val",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the split")


def add_folds(parser: argparse.ArgumentParser) -> None:
    """Add ``--folds``: a converter then also writes folds for cross-validation."""
    parser.add_argument(
        "--folds",
        type=int,
        default=0,
        metavar="K",
        help="also write this number of folds, for nucdet-cross-validate",
    )


def add_skip_invalid(parser: argparse.ArgumentParser) -> None:
    """Add ``--skip-invalid``, with which a converter leaves out invalid files and rows."""
    parser.add_argument(
        "--skip-invalid", action="store_true", help="leave out faulty files and rows, and list them"
    )


def add_planes(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add ``--channel``, ``--z``, ``--time`` and ``--scene``: which plane of each file is read.

    Args:
        parser: the parser to add them to.
        several: whether a file may contribute several planes, with "all".
    """
    add = parser.add_argument
    add(
        "--channel",
        type=number_or_name,
        metavar="K|NAME",
        help="channel that shows the nuclei, for files with several channels (in RGB: red, green, "
        "blue); numbers count from 0",
    )
    add(
        "--z",
        type=number_or_name,
        metavar="max|mean|all|K" if several else "max|mean|K",
        help="z plane, for files with several: maximum or mean projection, "
        f"{'all planes, ' if several else ''}or one",
    )
    add(
        "--time",
        type=number_or_name,
        metavar="all|K" if several else "K",
        help="time point, for files with several"
        + (": each of them (all), or one" if several else ""),
    )
    add("--scene", type=number_or_name, metavar="K|NAME", help="scene, for files with several")


def number_or_name(text: str) -> int | str:
    """A command line argument, as an int if it is a number."""
    return int(text) if text.isdecimal() else text


def parse_diameter(text: str) -> float | str:
    """Parse the argument of ``--diameter``: a number of pixels, or "auto"."""
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected a number of pixels or 'auto'"
        ) from None


def parse_list(text: str) -> list[str]:
    """Split an argument at its commas and strip the spaces around each part."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected one or more names with commas between them"
        )
    return parts
