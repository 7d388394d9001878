"""Shows the statistics of a data set as tables, a plot and JSON; run by nucdet-analyze."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from nucdet.data.statistics import (
    LEVELS,
    DatasetStatistics,
    read_statistics,
    suggest,
    suggest_anchors,
)
from nucdet.files import write_atomically, write_json

_QUANTILES = (0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1)
_MOST_ROWS = 10  # of a table


def analyze(annotations: Path, output: Path, input_size: int = 0) -> None:
    """Print tables and suggestions; write ``statistics.png`` and ``statistics.json`` to ``output``.

    Raises:
        FileNotFoundError, InputError: see :func:`read_statistics`.
    """
    statistics = read_statistics(annotations, input_size)
    suggestions = suggest(statistics)
    _print_statistics(statistics, str(annotations))
    for key, value in suggestions.items():
        print(f"{key}: {value}")
    write_json(output / "statistics.json", _as_json(statistics, suggestions))
    with write_atomically(output / "statistics.png") as temporary:
        _plot(statistics).savefig(temporary, dpi=100)
    print(f"written to {output}")


def _print_statistics(statistics: DatasetStatistics, title: str) -> None:
    """Print the tables to the screen."""
    console = Console()
    nuclei = len(statistics.areas)
    console.print(f"{title}: {len(statistics.per_image)} images, {nuclei} nuclei")
    _print_counts(console, "kind of image", statistics.kinds)
    sizes = Counter({f"{h} x {w}": n for (h, w), n in statistics.image_sizes.items()})
    _print_counts(console, "height x width", sizes)

    measures = {name: values for name, values in _measures(statistics).items() if len(values)}
    table = Table("quantile", *measures)
    columns = [np.quantile(values, _QUANTILES) for values in measures.values()]
    for quantile, row in zip(_QUANTILES, np.stack(columns, axis=1), strict=True):
        table.add_row(f"{quantile:.0%}", *(f"{value:.3g}" for value in row))
    console.print(table)
    if len(statistics.box_sizes):
        _, fits = suggest_anchors(statistics.box_sizes)
        table = Table("anchor sizes", "mean best IoU", title="anchors, one size an FPN level")
        for base, fit in fits.items():
            table.add_row(f"{base} to {base * 2 ** (LEVELS - 1)}", f"{fit:.3f}")
        console.print(table)


def _print_counts(console: Console, name: str, counts: Counter[str]) -> None:
    table = Table(name, "images")
    ordered = counts.most_common()
    for value, number in ordered[:_MOST_ROWS]:
        table.add_row(value, str(number))
    if more := ordered[_MOST_ROWS:]:
        table.add_row(f"{len(more)} more", str(sum(number for _, number in more)))
    console.print(table)


def _measures(statistics: DatasetStatistics) -> dict[str, np.ndarray]:
    seen_at = f" at input size {statistics.input_size}" if statistics.input_size else ""
    return {
        "nuclei per image": statistics.per_image,
        "diameter (pixels)": statistics.diameters,
        f"box side (pixels{seen_at})": np.sqrt(statistics.box_sizes.prod(1)),
        "box height / width": statistics.box_sizes[:, 1] / statistics.box_sizes[:, 0],
    }


def _as_json(statistics: DatasetStatistics, suggestions: dict[str, Any]) -> dict[str, Any]:
    quantiles = {
        name: dict(zip(map(str, _QUANTILES), np.quantile(values, _QUANTILES).tolist(), strict=True))
        for name, values in _measures(statistics).items()
        if len(values)
    }
    return {
        "images": len(statistics.per_image),
        "nuclei": len(statistics.areas),
        "kinds": dict(statistics.kinds.most_common()),
        "image_sizes": [[*size, n] for size, n in statistics.image_sizes.most_common()],
        "quantiles": quantiles,
        "suggestions": suggestions,
    }


def _plot(statistics: DatasetStatistics) -> Figure:
    """Four panels: image sizes, kinds of image, nuclei per image, nucleus diameters."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    (sizes, kinds), (per_image, diameters) = figure.subplots(2, 2)
    height_width = np.array(list(statistics.image_sizes))
    numbers = np.array(list(statistics.image_sizes.values()))
    sizes.scatter(height_width[:, 1], height_width[:, 0], s=20 + 3 * numbers, alpha=0.5)
    sizes.set(xlabel="width (pixels)", ylabel="height (pixels)", title="image sizes")
    names, counts = zip(*statistics.kinds.most_common(), strict=True)
    kinds.barh(names, counts)
    kinds.invert_yaxis()
    kinds.set(xlabel="images", title="kinds of image")
    per_image.hist(statistics.per_image, bins=40)
    per_image.set(xlabel="nuclei in an image", ylabel="images", title="nuclei per image")
    diameters.hist(statistics.diameters, bins=60)
    diameters.set(xlabel="diameter (pixels)", ylabel="nuclei", title="nucleus sizes")
    return figure
