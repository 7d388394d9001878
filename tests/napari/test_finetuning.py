"""A short training on a folder: its result, what is left when it is stopped, and whose mistake."""

from __future__ import annotations

import os

import numpy as np
import pytest

from nucdet.data.conversion.synthetic_images import LOOKS, draw_image
from nucdet.errors import InputError
from nucdet.napari.finetuning import RECIPE, finetune, read_progress, recipe_iterations, recipe_of
from nucdet.napari.models import LoadedModel, Model, finetuned_models, shipped_models
from nucdet.napari.progress import Cancelled
from nucdet.napari.training_folder import save_pair
from nucdet.predict import Segmenter


@pytest.fixture
def folder(tmp_path):
    """A training folder with one drawn image."""
    image, masks = draw_image(np.random.default_rng(1), 64, next(iter(LOOKS)), nuclei=4)
    save_pair(tmp_path / "mine", "drawn", image, masks.to_label_map())
    return tmp_path / "mine"


def test_the_recipe_is_for_the_model_that_ships(tmp_path):
    default, *others = shipped_models()
    assert recipe_of(default) == RECIPE
    assert recipe_iterations() == Segmenter(RECIPE).cfg.SOLVER.MAX_ITER
    own = Model("own", tmp_path / "own.yaml", tmp_path / "own.pth")
    assert recipe_of(own) == str(own.config)
    for other in [*others, Model("nucdet://other", tmp_path / "other.yaml")]:
        with pytest.raises(InputError, match=f"is prepared for {default.name}"):
            recipe_of(other)


def test_progress_of_a_training(tmp_path):
    losses = tmp_path / "losses.csv"
    assert read_progress(losses) == (0, None)
    losses.write_text("")
    assert read_progress(losses) == (0, None)
    losses.write_text("iteration,total_loss\n")
    assert read_progress(losses) == (0, None)
    losses.write_text("iteration,total_loss\n0,2.5\n1,1.25\n")
    assert read_progress(losses) == (2, 1.25)


def test_a_stopped_training_leaves_nothing(folder):
    def progress(done, total, text):
        if text == "loading the model":
            raise Cancelled

    with pytest.raises(Cancelled):
        finetune(folder, shipped_models()[0], 5, progress)
    assert not (folder / "finetuned").exists()
    assert finetuned_models(folder) == []


def test_a_mistake_in_the_folder_or_in_the_model_is_told_and_leaves_nothing(folder, tmp_path):
    config = tmp_path / "own.yaml"
    config.write_text("SOLVER: {NO_SUCH_KEY: 1}")
    weights = tmp_path / "own.pth"
    with pytest.raises(InputError, match="NO_SUCH_KEY"):
        finetune(folder, Model("own", config, weights), 5, lambda *_: None)
    (folder / "labels/drawn.tif").unlink()
    with pytest.raises(InputError, match="no label map"):
        finetune(folder, shipped_models()[0], 5, lambda *_: None)
    assert not (folder / "finetuned").exists()
    nowhere = tmp_path / "nowhere"
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        finetune(nowhere, shipped_models()[0], 5, lambda *_: None)
    assert not nowhere.exists()


def test_a_model_is_kept_until_its_file_is_written_anew(tmp_path):
    config = tmp_path / "own.yaml"
    config.write_text("_BASE_: DSB2018/classical_watershed.yaml\n")
    loaded, model = LoadedModel(), Model("own", config)
    first = loaded.segmenter(model)
    assert loaded.segmenter(model) is first
    config.write_text("_BASE_: DSB2018/classical_watershed.yaml\nTEST: {DETECTIONS_PER_IMAGE: 7}\n")
    os.utime(config, (1, 1))
    assert loaded.segmenter(model).cfg.TEST.DETECTIONS_PER_IMAGE == 7
