"""Fine-tunes a model on a training folder, in a separate process."""

from __future__ import annotations

import contextlib
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
_DATA = "corrections"  # name of the data set
_LOG = "train.log"
_POLL_PERIOD = 0.5  # seconds


def recipe_iterations() -> int:
    """The number of iterations in configs/finetune.yaml."""
    return int(read_config_file(RECIPE)["SOLVER"]["MAX_ITER"])


def recipe_of(model: Model) -> str:
    """The config to fine-tune a model with: finetune.yaml for the shipped model, else its own.

    Raises:
        InputError: a shipped model other than the one that finetune.yaml starts from.
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
    """Train a model further on a training folder.

    The training runs in another process, so that the viewer stays responsive. Its output goes to
    ``<folder>/finetuned/<number>``, which is removed if the training is stopped or fails because of
    a user error.

    Args:
        folder: see :mod:`nucdet.napari.training_folder`.
        model: the model to start from.
        iterations: the number of iterations to train.
        progress: called with the number of iterations done; an exception from it stops the training
            and is passed on.

    Returns:
        The fine-tuned model.

    Raises:
        FileNotFoundError: images, labels, config or weights do not exist.
        InputError: images or labels are invalid, or the model cannot be fine-tuned.
        RuntimeError: the training failed for another reason; the message names its log, which is
            kept.
    """
    progress(0, 0, "reading the training data")
    recipe = recipe_of(model)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    output = _next_output(folder)
    try:
        data = OwnData(_DATA, val_fraction=0, root=output / "datasets")
        convert_labels(folder / IMAGES, folder / LABELS, data)
        _train(output, recipe, model.weights, iterations, progress)
    except RuntimeError:
        raise  # the output is kept, because the log is needed to report the failure
    except BaseException:
        shutil.rmtree(output, ignore_errors=True)
        with contextlib.suppress(OSError):  # the folder contains other models
            output.parent.rmdir()
        raise
    return finetuned_model(output)


def read_progress(losses: Path) -> tuple[int, float | None]:
    """The number of iterations done and the latest total loss, from the losses.csv of a training.

    (0, None) before the first row has been written.
    """
    try:
        table = pd.read_csv(losses)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return 0, None
    if table.empty:
        return 0, None
    return int(table["iteration"].iloc[-1]) + 1, float(table["total_loss"].iloc[-1])


def _next_output(folder: Path) -> Path:
    taken = [int(p.name) for p in (folder / FINETUNED).glob("*") if p.name.isdecimal()]
    output = folder.resolve() / FINETUNED / str(max(taken, default=0) + 1)
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
                time.sleep(_POLL_PERIOD)
        finally:
            _stop(process)
    if process.returncode or not (output / WEIGHTS_FILE).is_file():
        raise _failure(log, process.returncode)


def _stop(process: subprocess.Popen) -> None:
    """End the process if it is still running."""
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
    return RuntimeError(f"the training failed ({lines[-1]}); its log is {log}")
