#!/usr/bin/env python
"""Train the systems of the five reports one after another, and write a table of their scores.

    make published-systems                  # the same as:
    python benchmarks/published_systems.py  # group "systems", 5 to 10 core hours
    python benchmarks/published_systems.py --only linknet_2,unet_small
    python benchmarks/published_systems.py --group sweeps  # variants, refinements, two_stages, all
    python benchmarks/published_systems.py --list

The rows are defined in benchmarks/published_systems.yaml. After an interruption, even in the middle
of a training, the same command continues. The folder of a row contains logs, checkpoints
(model_best.pth is the best on val) and learning curves; published_systems.csv has a line per
training with all scores, published_systems.md a line per row, and published_systems.png the curves
of all trainings. "Minutes" are CPU minutes of training and its evaluations, without those of the
data-loading processes; add DATALOADER.NUM_WORKERS 0 to the command to include all.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import nucdet  # noqa: F401, before Detectron2: prevents its warnings of torch.jit

# isort: split
import pandas as pd
import torch
import yaml
from detectron2.evaluation.testing import flatten_results_dict
from matplotlib.figure import Figure
from published_curves import draw_curves
from published_tables import METRIC, costs, markdown

from nucdet.arguments import command_parser, parse_list
from nucdet.config import load_config
from nucdet.data.datasets import default_root
from nucdet.errors import InputError, run_tool
from nucdet.files import write_atomically
from nucdet.locks import lock_folder
from nucdet.modeling.checkpointing import NucleusCheckpointer
from nucdet.modeling.weight_checks import weight_files
from nucdet.train.trainer import NucleusTrainer
from nucdet.tuning.cross_validate import TABLE as FOLDS_TABLE
from nucdet.tuning.cross_validate import cross_validate
from nucdet.tuning.search import TABLE as SEARCH_TABLE
from nucdet.tuning.search import search
from nucdet.tuning.search_space import SearchSpace
from nucdet.tuning.trial_runs import run_trial
from nucdet.tuning.trials import DONE, Trial, note_outdated, plan_trials, read_outcome
from nucdet.visualization.training_curves import plot_training

HERE = Path(__file__).parent
ROWS, CONFIGS = HERE / "published_systems.yaml", HERE.parent / "configs" / "DSB2018"
KINDS = ("train", "evaluate", "search", "folds")


@dataclass(frozen=True)
class Row:
    """One line of the tables; published_systems.yaml says what the fields mean."""

    name: str
    config: str
    kind: str = "train"
    group: str = "systems"
    seeds: Sequence[int] = (1,)
    published: str = ""
    set: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def config_file(self) -> str:
        return str(CONFIGS / self.config)

    @property
    def space(self) -> SearchSpace:
        """What a "search" row varies."""
        return SearchSpace(**self.options)


def read_rows(path: Path) -> dict[str, Row]:
    """Read the rows of a yaml, by name, in its order.

    Raises:
        InputError: a row has an unknown field or kind, lacks a name or config, or has the name of
            another row.
    """
    known = {item.name for item in fields(Row)}
    rows: dict[str, Row] = {}
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        if not {"name", "config"} <= set(entry) <= known or entry["name"] in rows:
            raise InputError(
                f"{path}: {entry}: expected a name of its own, a config, and of the others "
                f"{', '.join(sorted(known))}"
            )
        row = rows[entry["name"]] = Row(**entry)
        if row.kind not in KINDS:
            raise InputError(f"{path}: {row.name}: kind {row.kind}, expected one of {KINDS}")
    return rows


class Harness:
    """Runs the rows in an output folder, and writes tables of their results so far."""

    def __init__(self, rows: dict[str, Row], output: Path, overrides: Sequence[str] = ()):
        """
        Args:
            rows: from :func:`read_rows`.
            output: folder for the tables and the folders of the rows.
            overrides: KEY VALUE pairs for all rows.
        """
        self.rows, self.output, self.overrides = rows, output, overrides

    def pairs(self, row: Row, place: int = 0) -> list[str]:
        """KEY VALUE pairs of a row's training with the seed at this place.

        ``{row}`` becomes the folder of that row's training with the seed at the same place, or of
        its last training if it has fewer seeds.
        """
        folders = _Folders(self, place)
        texts = [
            (key, value.format_map(folders) if isinstance(value, str) else str(value))
            for key, value in row.set.items()
        ]
        return [text for pair in texts for text in pair] + [*self.overrides]

    def trainings(self, row: Row) -> list[Trial]:
        """One training, with a checked config, for each seed of a "train" or "evaluate" row."""
        settings = [
            ({"SEED": seed}, [*self.pairs(row, place), "SEED", str(seed)])
            for place, seed in enumerate(row.seeds)
        ]
        trials = plan_trials(row.config_file, settings, self.output / row.name)
        note_outdated(trials)
        return trials

    def run(self, row: Row, retry_failed: bool) -> None:
        """Run the unfinished trainings or evaluations of a row."""
        arguments = row.config_file, str(self.output / row.name), self.pairs(row)
        if row.kind == "search":
            search(*arguments, space=row.space, seeds=row.seeds, retry_failed=retry_failed)
            return
        if row.kind == "folds":
            cross_validate(*arguments, **row.options, retry_failed=retry_failed)
            return
        for training in self.trainings(row):
            with lock_folder(training.folder) as lock:
                if row.kind == "evaluate":
                    evaluate(training)
                    continue
                outcome = run_trial(training, row.config_file, METRIC, lock, retry_failed)
                if outcome.state == DONE:
                    plot_training([training.folder])

    def lines(self, row: Row) -> Iterator[dict[str, Any]]:
        """The scores and costs of each training of a row that has scores.

        With early stopping on val, the best evaluation counts, otherwise the last.
        """
        if not (self.output / row.name).is_dir():
            return
        if row.kind in ("search", "folds"):
            path = self.output / row.name / (SEARCH_TABLE if row.kind == "search" else FOLDS_TABLE)
            table = pd.read_csv(path) if path.is_file() else pd.DataFrame()
            for line in table.to_dict("records"):
                yield {"row": row.name, "group": row.group, **line}
            return
        for training in self.trainings(row):
            path = training.folder / "evaluation.csv"
            if not path.is_file():
                continue
            table = pd.read_csv(path)
            place = table[METRIC].argmax() if training.cfg.SOLVER.EARLY_STOP_PATIENCE else -1
            scores = table.iloc[place].to_dict()
            outcome = read_outcome(training.folder)
            state = outcome.state if outcome else ("done" if row.kind == "evaluate" else "running")
            yield {
                "row": row.name,
                "group": row.group,
                "SEED": training.cfg.SEED,
                "state": state,
                "scored at": scores.pop("iteration"),
                **costs(training.folder),
                "folder": str(training.folder.relative_to(self.output)),
                **scores,
            }

    def write_tables(self) -> None:
        """Write published_systems.csv, .md and .png for all rows that have scores."""
        lines = [line for row in self.rows.values() for line in self.lines(row)]
        with write_atomically(self.output / "published_systems.csv") as temporary:
            pd.DataFrame(lines).to_csv(temporary, index=False, float_format="%.4f")
        text = markdown(self.rows.values(), lines)
        with write_atomically(self.output / "published_systems.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
        with write_atomically(self.output / "published_systems.png") as temporary:
            self.curves(lines).savefig(temporary, dpi=110)

    def curves(self, lines: Sequence[dict[str, Any]]) -> Figure:
        """Plot the trainings that have :meth:`lines`, with one color per row.

        Rows without training are included only if they are independent systems, not evaluations of
        another row's weights.
        """
        folders: dict[str, list[Path]] = {}
        levels: dict[str, float] = {}
        for line in lines:
            row = self.rows[line["row"]]
            if row.kind == "train":
                folders.setdefault(row.name, []).append(self.output / line["folder"])
            elif row.kind == "evaluate" and not row.set:
                levels[row.name] = line[METRIC]
        return draw_curves(folders.items(), levels)


class _Folders(dict):
    """Maps the name of a row to the folder of one of its trainings, and "datasets" to the data."""

    def __init__(self, harness: Harness, place: int):
        super().__init__(datasets=default_root())
        self.harness, self.place = harness, place

    def __missing__(self, name: str) -> str:
        if name not in self.harness.rows:
            raise InputError(f"{ROWS}: {{{name}}}: there is no such row")
        trainings = self.harness.trainings(self.harness.rows[name])
        return str(trainings[min(self.place, len(trainings) - 1)].folder)


def evaluate(trial: Trial) -> None:
    """Score the weights of a config without training, unless its evaluation.csv is newer."""
    path = trial.folder / "evaluation.csv"
    weights = weight_files(trial.cfg.MODEL.WEIGHTS)
    # weights are older, unless they were those of a training that has continued since
    if path.is_file() and all(f.stat().st_mtime <= path.stat().st_mtime for f in weights):
        return
    print(f"evaluating {trial.folder}", flush=True)
    start = time.process_time()
    cfg = trial.cfg.clone()
    cfg.OUTPUT_DIR = str(trial.folder)
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    model = NucleusTrainer.build_model(cfg)
    NucleusCheckpointer(model, complete=True).load(cfg.MODEL.WEIGHTS)
    results = flatten_results_dict(NucleusTrainer.test(cfg, model))
    row = {"iteration": 0, **results, "cpu_seconds": time.process_time() - start}
    with write_atomically(path) as temporary:
        pd.DataFrame([row]).to_csv(temporary, index=False)


def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--output", type=Path, default=Path("output/published_systems"))
    parser.add_argument("--rows", type=Path, default=ROWS, metavar="YAML")
    parser.add_argument("--group", default="systems", help="systems; all: every row")
    parser.add_argument("--only", default="", metavar="ROW,ROW", help="these rows, of any group")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--retry-failed", action="store_true", help="train again what failed")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="for all rows")
    args = parser.parse_args()
    rows = read_rows(args.rows)
    names = parse_list(args.only) if args.only else []
    unknown = [name for name in names if name not in rows]
    groups = {row.group for row in rows.values()} | {"all"}
    if unknown or args.group not in groups:
        what = f"--only {unknown[0]}" if unknown else f"--group {args.group}"
        raise InputError(f"{what}: expected of {args.rows}: {', '.join(rows)}; {sorted(groups)}")
    names = names or [n for n, row in rows.items() if args.group in (row.group, "all")]
    if args.list:
        print("\n".join(f"{rows[n].group:12} {n:32} {rows[n].published}" for n in names))
        return 0
    harness = Harness(rows, args.output, args.opts)
    for name in names:
        # report mistakes before any training
        load_config(rows[name].config_file, harness.pairs(rows[name]))
    failed = 0
    for name in names:
        print(f"== {name}", flush=True)
        try:
            harness.run(rows[name], args.retry_failed)
        except (InputError, OSError) as error:  # for example missing weights of a failed row
            print(f"{name}: {error}", file=sys.stderr)
            failed = 1
        harness.write_tables()
    print((args.output / "published_systems.md").read_text(encoding="utf-8"))
    return failed


if __name__ == "__main__":
    run_tool(main)
