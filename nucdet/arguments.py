"""What the command lines share: arguments that have one name and one meaning in all of them.

Nothing here imports PyTorch or Detectron2, so that ``--help`` and usage errors answer at once.
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
    """Make a command line of ``main``, which parses ``sys.argv`` and returns an exit code.

    The scripts in ``tools/`` and the console commands of an installed nucdet both call the result.
    It ends the process; :func:`nucdet.errors.run_tool` says how it answers a user's mistake.
    """

    # a process of --num-gpus imports its command before it imports PyTorch for seconds
    if "--multiprocessing-fork" in sys.orig_argv:
        end_with_parent()

    @functools.wraps(main)
    def run() -> None:
        run_tool(main)

    return run


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import PyTorch and what builds on it in a sixth less CPU: without looking for garbage.

    Later collections leave out the hundred thousands of objects that imports make, too.
    """
    gc.disable()
    try:
        yield
    finally:
        # nucdet does without triton; whoever has loaded it would read, at the end, a hundred lines
        # about objects of it that are never collected
        if "triton" not in sys.modules:
            gc.freeze()
        gc.enable()


def command_parser(description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """A parser that prints its description and epilog as they are written.

    Args:
        description: usually the docstring of a module. ``%(prog)s`` becomes the command's name;
            other percent signs are doubled.
        epilog: the same, for below the list of arguments.
    """
    return argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


class DefaultsFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help texts end with the argument's default, where there is one that says something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, "", ()):
            return action.help
        return super()._get_help_string(action)


def add_config(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add ``--config-file`` and the ``KEY VALUE`` pairs that override it (``opts``, a list).

    Args:
        parser: to add them to.
        default: what is used without a config file, for the help text; None: the file is required.
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
    """The path of a config that is named by its path or by its name among nucdet's.

    A path below the current directory is relative, so that logs and manifests hold no folders of
    this machine.

    Raises:
        FileNotFoundError: there is none.
    """
    if not text or Path(text).is_file():
        return text
    path = find_config(text)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def add_output(parser: argparse.ArgumentParser, help: str, default: str | None = None) -> None:
    """Add ``--output-dir``, a folder that is made if it is missing.

    Args:
        parser: to add it to.
        help: what the folder is for.
        default: None: the argument is required.
    """
    parser.add_argument(
        "--output-dir",
        required=default is None,
        default=default,
        metavar="DIR",
        help=help if default is None else f"{help} (default: %(default)s)",
    )


def add_devices(parser: argparse.ArgumentParser) -> None:
    """Add the number of processes and machines; :func:`nucdet.processes.run_processes` uses them.

    Names and meaning are those of Detectron2's own tools.
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
    """Add ``--workers``, the number of processes that share the work on files."""
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
        parser: to add them to.
        val_fraction: the default.
    """
    parser.add_argument(
        "--val-fraction",
        type=float,
        default=val_fraction,
        help="fraction of the training images that becomes val",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the split")


def add_skip_invalid(parser: argparse.ArgumentParser) -> None:
    """Add ``--skip-invalid``: what a converter does about files and rows that are bad."""
    parser.add_argument(
        "--skip-invalid", action="store_true", help="leave out faulty files and rows, and list them"
    )


def parse_diameter(text: str) -> float | str:
    """The argument of ``--diameter``: a number of pixels, or "auto"."""
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected a number of pixels or 'auto'"
        ) from None


def parse_list(text: str) -> list[str]:
    """The parts of an argument between its commas, without the spaces around them."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected one or more names with commas between them"
        )
    return parts
