#!/usr/bin/env python
"""Draw the floors of nucdet with their rooms, lines of code, and who imports whom.

    python docs/figures/draw_architecture.py        # writes architecture.svg beside this file

The floors are those that tests/test_architecture.py holds, and the arrows come from the imports in
the files, so that the figure cannot differ from the code.
"""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

HERE = Path(__file__).parent
# rooms of one file are drawn as one box, "nucdet", under everything else
BASE = "nucdet.*"
WIDTH, HEIGHT, STEP = 2.1, 0.62, 1.2


def read_rooms() -> tuple[dict[str, int], Counter[str], Counter[tuple[str, str]]]:
    """The floor and the lines of each room, and how many files of one import from another one."""
    test = runpy.run_path(str(HERE.parent.parent / "tests/test_architecture.py"))
    package = test["PACKAGE"].parent

    def room_of(module: str) -> tuple[str, int]:
        floor, room = test["floor_of"](module)
        if (package / room.replace(".", "/")).is_dir():
            return room, floor
        return (BASE, 0) if floor == 0 else (room, floor)

    floors: dict[str, int] = {}
    lines: Counter[str] = Counter()
    arrows: Counter[tuple[str, str]] = Counter()
    for module in test["modules"]():
        room, floor = room_of(module)
        floors[room] = floor
        path = package / module.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        lines[room] += len(path.read_text(encoding="utf-8").splitlines())
        others = {room_of(imported)[0] for imported in test["imports_of"](module)} - {room}
        arrows.update((room, other) for other in others)
    return floors, lines, arrows


def draw(path: Path) -> None:
    """Write the figure as SVG; the same code gives the same bytes."""
    floors, lines, arrows = read_rooms()
    levels = sorted(set(floors.values()))
    center: dict[str, tuple[float, float]] = {}
    for height, level in enumerate(levels):
        rooms = sorted(room for room, floor in floors.items() if floor == level)
        for i, room in enumerate(rooms):
            shift = 0.55 * (-1) ** height if len(rooms) == 1 else 0.0
            x = (i - (len(rooms) - 1) / 2) * WIDTH * 1.3 + shift * 2.2
            center[room] = (x, height * STEP)
    style = {"svg.fonttype": "none", "svg.hashsalt": "nucdet", "font.size": 9}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(8.5, 8.5), layout="constrained")
        figure.patch.set_facecolor("white")
        axes = figure.subplots()
        for (room, other), count in sorted(arrows.items()):
            if other == BASE:
                continue  # everything does
            _arrow(axes, center[room], center[other], count)
        for room, (x, y) in center.items():
            box = FancyBboxPatch(
                (x - WIDTH / 2, y - HEIGHT / 2),
                WIDTH,
                HEIGHT,
                "round,pad=0.02",
                facecolor="#e8f0f7",
                edgecolor="#33607f",
                zorder=3,
            )
            axes.add_patch(box)
            name = "config, errors, files" if room == BASE else room.removeprefix("nucdet.")
            axes.text(x, y + 0.08, name, ha="center", va="center", weight="bold", zorder=4)
            axes.text(x, y - 0.19, f"{lines[room]:,} lines", ha="center", va="center", zorder=4)
        left = min(x for x, _ in center.values()) - WIDTH
        for height, level in enumerate(levels):
            axes.text(left, height * STEP, f"floor {level}", va="center", color="#666666")
        axes.set_xlim(left - 0.1, max(x for x, _ in center.values()) + WIDTH * 0.7)
        axes.set_ylim(-0.6, (len(levels) - 1) * STEP + 0.6)
        axes.set_aspect("equal")
        axes.axis("off")
        figure.savefig(path, metadata={"Date": None, "Creator": None})


def _arrow(axes, start: tuple[float, float], end: tuple[float, float], count: int) -> None:
    axes.annotate(
        "",
        (end[0], end[1] + HEIGHT / 2 + 0.02),
        (start[0], start[1] - HEIGHT / 2),
        arrowprops={
            "arrowstyle": "-|>",
            "color": "#33607f",
            "alpha": min(1.0, 0.25 + count / 20),
            "linewidth": 0.6 + min(count, 20) / 12,
            "shrinkA": 0,
            "shrinkB": 0,
            "connectionstyle": "arc3,rad=0.12",
        },
        zorder=2,
    )


if __name__ == "__main__":
    draw(HERE / "architecture.svg")
