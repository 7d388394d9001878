"""Markdown tables for the output of the benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def head(columns: Sequence[str]) -> str:
    """The first two lines of a table: the header and the delimiter row."""
    return f"{line(columns)}\n{'|---' * len(columns)}|"


def line(cells: Iterable[str]) -> str:
    """One row of a table."""
    return f"| {' | '.join(cells)} |"


def table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """A whole table, with a line break at its end."""
    return "\n".join([head(columns), *map(line, rows)]) + "\n"
