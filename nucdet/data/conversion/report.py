"""Collects the problems of a conversion, to list all invalid files before raising one error."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nucdet.errors import InputError

# what most problems leave out
IMAGE = "the image"


@dataclass(frozen=True)
class Problem:
    """One invalid file (or csv row), and what must be left out because of it."""

    where: str
    what: str
    left_out: str  # for the report: IMAGE, "the mask", "the row", …

    @classmethod
    def of_file(cls, file: Path, error: Exception, left_out: str = IMAGE) -> Problem:
        """The problem of a file from an error, whose message may begin with the file's name."""
        return cls(str(file), str(error).removeprefix(f"{file}: "), left_out)


@dataclass
class ConversionReport:
    """Collects problems and remarks of one conversion.

    Attributes:
        skip_invalid: continue without invalid files instead of failing.
    """

    skip_invalid: bool = False
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, problems: Iterable[Problem]) -> None:
        """Add problems, which :meth:`finish` reports."""
        self.problems.extend(problems)

    def remark(self, text: str) -> None:
        """Add a note that is not a problem."""
        self.remarks.append(text)

    def finish(self) -> None:
        """Print everything to stderr, one line each.

        Raises:
            InputError: there are problems, and ``skip_invalid`` is off.
        """
        for problem in self.problems:
            ending = f"; left out: {problem.left_out}" if self.skip_invalid else ""
            print(f"bad: {problem.where}: {problem.what}{ending}", file=sys.stderr)
        for text in self.remarks:
            print(f"note: {text}", file=sys.stderr)
        if self.problems and not self.skip_invalid:
            first = self.problems[0]
            raise InputError(
                f"{len(self.problems)} bad, each listed above, the first: {first.where}: "
                f"{first.what}; nothing was written; fix them or leave them out by --skip-invalid"
            )
