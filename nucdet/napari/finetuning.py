"""Fine-tuning on a training folder: a short training in a process of its own, then a model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from nucdet.config_files import read_config_file
from nucdet.data.conversion.labels import convert_labels
from nucdet.data.conversion.own_data import OwnData
from nucdet.errors import InputError
from nucdet.modeling.model_zoo import PREFIX
from nucdet.napari.models import FINETUNED, WEIGHTS_FILE, Model, finetuned_model
from nucdet.napari.progress import Progress
from nucdet.napari.training_folder import IMAGES, LABELS

RECIPE = "configs/finetune.yaml"  # one of nucdet's own configs, found from any folder
_DATA = "corrections"
_LOG = "train.log"
_LOOK_EVERY = 0.5  # seconds


def recipe_iterations() -> int:
    """How long configs/finetune.yaml trains."""
    return int(read_config_file(RECIPE)["SOLVER"]["MAX_ITER"])


def recipe_of(model: Model) -> str:
    """The config that goes on training a model: its own, or for one that ships finetune.yaml.

    Raises:
        InputError: a model that ships, but not the one that finetune.yaml is for.
    """
    if model.weights is not None:
        return str(model.config)
    start = read_config_file(RECIPE)["MODEL"]["WEIGHTS"]
    if model.name.startswith(PREFIX) and model.name != start:
        raise InputError(
            f"{model.name}: fine-tuning is prepared for {start}; choose that model, or your own "
            "config and weights"
        )
    return RECIPE if model.name == start else str(model.config)


def finetune(folder: Path, model: Model, iterations: int, progress: Progress) -> Model:
    """Let a model go on learning from a training folder.

    The training runs in another process, so that the caller's stays responsive, and leaves its
    output in ``<folder>/finetuned/<number>``. A training that is stopped or fails for a mistake of
    the user leaves nothing.

    Args:
        folder: see :mod:`nucdet.napari.training_folder`.
        model: to start from.
        iterations: of the training.
        progress: gets the iterations that are done; what it raises stops the training.

    Returns:
        The fine-tuned model.

    Raises:
        FileNotFoundError, InputError: files that are bad or missing, a model that cannot be loaded.
        RuntimeError: the training failed; the message names its log.
    """
    progress(0, 0, "reading the training data")
    recipe = recipe_of(model)
    output = _next_output(folder)
    try:
        data = OwnData(_DATA, val_fraction=0, root=output / "datasets")
        convert_labels(folder / IMAGES, folder / LABELS, data)
        _train(output, recipe, model.weights, iterations, progress)
    except RuntimeError:
        raise  # its log stays
    except BaseException:
        shutil.rmtree(output, ignore_errors=True)
        raise
    return finetuned_model(output)


def read_progress(losses: Path) -> tuple[int, float | None]:
    """Iterations done and the newest total loss, from the losses.csv of a training."""
    try:
        table = pd.read_csv(losses)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return 0, None
    if table.empty:
        return 0, None
    return int(table["iteration"].iloc[-1]) + 1, float(table["total_loss"].iloc[-1])


def _next_output(folder: Path) -> Path:
    there = [int(p.name) for p in (folder / FINETUNED).glob("*") if p.name.isdecimal()]
    output = folder.resolve() / FINETUNED / str(max(there, default=0) + 1)
    output.mkdir(parents=True)
    return output


def _train(
    output: Path, recipe: str, weights: Path | None, iterations: int, progress: Progress
) -> None:
    settings = {
        "DATASETS.TRAIN": f"('{_DATA}_train',)",
        "DATASETS.TEST": "()",
        "SOLVER.MAX_ITER": str(iterations),
        "SOLVER.CHECKPOINT_PERIOD": str(iterations + 1),  # only the one at the end
        "OUTPUT_DIR": str(output),
    }
    if weights is not None:
        settings["MODEL.WEIGHTS"] = str(weights)
    command = [sys.executable, "-m", "nucdet.commands.train", "--config-file", recipe]
    command += [text for pair in settings.items() for text in pair]
    environment = {**os.environ, "DETECTRON2_DATASETS": str(output / "datasets")}
    log = output / _LOG
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            while process.poll() is None:
                done, loss = read_progress(output / "losses.csv")
                text = "loading the model" if loss is None else f"fine-tuning, loss {loss:.3f}"
                progress(done, iterations if done else 0, text)
                time.sleep(_LOOK_EVERY)
        finally:
            _stop(process)
    if process.returncode or not (output / WEIGHTS_FILE).is_file():
        raise _failure(log, process.returncode)


def _stop(process: subprocess.Popen) -> None:
    """End the process if it still runs."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _failure(log: Path, code: int) -> Exception:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
    if code == 2 and lines[-1].startswith("error: "):
        return InputError(lines[-1].removeprefix("error: "))
    return RuntimeError(f"the training failed ({lines[-1]}); {log} has all that it said")
