"""Plans series of trainings that may be interrupted, for searches and cross-validation.

The folder of a training is named after its config, so that the same command finds its finished
trainings again, as does another command in the same folder if it trains with the same configs. What
became of a training is in its folder, too. :mod:`nucdet.tuning.trial_runs` runs them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from nucdet.config import load_config
from nucdet.data.datasets import register_datasets
from nucdet.errors import InputError
from nucdet.files import write_json
from nucdet.modeling.architecture_checks import check_architecture, check_training_data
from nucdet.modeling.weight_checks import check_weights

DONE, FAILED, INTERRUPTED, STARTED = "done", "failed", "interrupted", "started"
STATE_FILE = "trial.json"
_NAME_LENGTH = 60  # largest length of a folder's name, without the digest


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        labels: how it differs from the others, e.g. ``{"SOLVER.BASE_LR": 0.001, "SEED": 1}``.
        overrides: KEY VALUE pairs that override the config file.
        cfg: the complete config.
        folder: its OUTPUT_DIR.
    """

    labels: Mapping[str, Any]
    overrides: tuple[str, ...]
    cfg: CfgNode
    folder: Path

    @property
    def name(self) -> str:
        """The labels in short form, e.g. ``"BASE_LR=0.001 SEED=1"``."""
        return _name(self.labels)


@dataclass
class Outcome:
    """The outcome of a trial so far.

    Attributes:
        state: DONE, FAILED, INTERRUPTED, or STARTED while it runs and after it was killed.
        seconds: duration of all its runs, except those whose search was killed.
        iterations: the number of iterations trained.
        metrics: values, 0–100, by ``"task/metric"``.
        error: why it failed, in one line.
        data: sha256 of the data sets' JSON files; "" in files of earlier versions.
    """

    state: str
    seconds: float
    iterations: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""
    data: str = ""


def plan_trials(
    config_file: str | Path,
    settings: Sequence[tuple[Mapping[str, Any], Sequence[str]]],
    output_dir: str | Path,
) -> list[Trial]:
    """Load and check every config before the first training starts.

    Args:
        config_file: yaml that all trials start from.
        settings: labels and KEY VALUE pairs of each trial; a label named like a config key gets the
            key's value from the config. Of settings with equal configs, only the first is used.
        output_dir: parent folder of the trials' folders.

    Raises:
        InputError, FileNotFoundError: a mistake in one of the configs, missing data or weights.
    """
    register_datasets()
    defaults = flat_config(load_config())
    planned: dict[str, Trial] = {}
    for labels, overrides in settings:
        cfg = load_config(config_file, overrides)
        if not cfg.DATASETS.TRAIN or not cfg.DATASETS.TEST:
            raise InputError(
                f"{config_file}: DATASETS.TRAIN {cfg.DATASETS.TRAIN} and DATASETS.TEST "
                f"{cfg.DATASETS.TEST}: expected data to train on and to score on"
            )
        check_architecture(cfg)
        check_training_data(cfg)
        flat = flat_config(cfg)
        labels = {name: flat.get(name, label) for name, label in labels.items()}
        digest = _digest(flat, defaults)
        slug = re.sub(r"[^\w.=+-]+", "_", _name(labels))[:_NAME_LENGTH]
        folder = Path(output_dir) / f"{slug}-{digest}"
        if not (folder / "last_checkpoint").is_file():  # otherwise it continues from a checkpoint
            check_weights(cfg.MODEL.WEIGHTS)
        planned.setdefault(digest, Trial(labels, tuple(overrides), cfg, folder))
    return list(planned.values())


def note_outdated(trials: Sequence[Trial]) -> None:
    """Print which trials were trained, or started to, on data that was converted again since."""
    for trial in trials:
        if _is_out_of_date(trial):
            print(
                f"note: {trial.name}: its data was converted again since it was trained; choose "
                "another --output-dir to train on the new data"
            )


def check_same_data(trials: Sequence[Trial], output_dir: Path) -> None:
    """Check that no trial has been trained, or started to, on data that was converted again since.

    With new folds, for example, images that one training was scored on are among those that
    another, which is averaged with it, was trained on.

    Raises:
        InputError: one has.
    """
    outdated = [trial.name for trial in trials if _is_out_of_date(trial)]
    if outdated:
        raise InputError(
            f"{output_dir}: found trainings ({', '.join(outdated)}) whose data was converted again "
            "since, so their scores cannot be averaged with new ones; choose another --output-dir "
            f"to train on the new data, or delete {output_dir}"
        )


def _is_out_of_date(trial: Trial) -> bool:
    outcome = read_outcome(trial.folder)
    return outcome is not None and outcome.data not in ("", data_digest(trial.cfg))


def data_digest(cfg: CfgNode) -> str:
    """sha256 of the JSON files of the data sets of a config."""
    digest = hashlib.sha256()
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        if json_file := MetadataCatalog.get(name).get("json_file"):
            with Path(json_file).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def read_outcome(folder: Path) -> Outcome | None:
    """The outcome of the trial in a folder so far, None if it has not been started.

    Raises:
        InputError: the folder's state file is damaged.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: not a trial's state ({type(error).__name__}); delete it to run the trial "
            "again from its last checkpoint"
        ) from error


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write the outcome of the trial in a folder so far."""
    write_json(folder / STATE_FILE, asdict(outcome))


def check_metric(outcomes: Sequence[Outcome | None], metric: str) -> None:
    """Raise InputError if a finished trial does not have this metric."""
    for outcome in outcomes:
        if outcome and outcome.state == DONE and metric not in outcome.metrics:
            found = ", ".join(name for name in outcome.metrics if "errors-" not in name)
            raise InputError(f"metric {metric!r} is not among the results; there are {found}")


def _name(labels: Mapping[str, Any]) -> str:
    return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in labels.items())


def flat_config(node: CfgNode, prefix: str = "") -> dict[str, Any]:
    """All keys of a config as ``{"A.B.C": value}``."""
    result = {}
    for key, value in node.items():
        name = prefix + key
        result |= flat_config(value, f"{name}.") if isinstance(value, CfgNode) else {name: value}
    return result


def _digest(flat: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """A hash of the keys that differ from the defaults, so that new keys do not change it."""
    changed = {
        key: value
        for key, value in flat.items()
        if key != "OUTPUT_DIR" and (key not in defaults or defaults[key] != value)
    }
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:8]
