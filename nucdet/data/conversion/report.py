"""What a conversion found wrong: every bad file named first, one error after."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nucdet.errors import InputError


@dataclass(frozen=True)
class Problem:
    """One bad file (or csv row) and what it costs when the conversion goes on without it."""

    where: str
    what: str
    left_out: str  # "the mask" or "the image"

    @classmethod
    def of_file(cls, file: Path, error: Exception, left_out: str = "the image") -> Problem:
        """What an error says of a file; most begin with its name, which is said once."""
        return cls(str(file), str(error).removeprefix(f"{file}: "), left_out)


@dataclass
class ConversionReport:
    """Collects problems and remarks of one conversion.

    Attributes:
        skip_invalid: go on without the bad files instead of failing.
    """

    skip_invalid: bool = False
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, problems: Iterable[Problem]) -> None:
        """Take in problems; they are shown and judged by :meth:`finish`."""
        self.problems.extend(problems)

    def remark(self, text: str) -> None:
        """Something worth a line that is no mistake."""
        self.remarks.append(text)

    def finish(self) -> None:
        """List everything on stderr, a line each.

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
