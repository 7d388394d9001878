import json

import pandas as pd
import pytest
import yaml
from PIL import Image

from nucdet.errors import InputError
from nucdet.visualization.training_curves import (
    TrainingLog,
    draw_logs,
    epoch_ends,
    plot_training,
    read_log,
    smoothed,
)


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """An OUTPUT_DIR of 40 iterations with 2 of 20 images each, of which 4 have no nuclei."""
    root = tmp_path / "datasets"
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    path = root / "synthetic/annotations/instances_train.json"
    path.parent.mkdir(parents=True)
    images = [{"id": i} for i in range(20)]
    path.write_text(
        json.dumps({"images": images, "annotations": [{"image_id": i % 16} for i in range(50)]})
    )

    def make(name, metric="kaggle/mAP", filter_empty=True):
        folder = tmp_path / name
        folder.mkdir()
        columns = {"iteration": range(40), "total_loss": 3.0, "loss_cls": 2.0, "loss_mask": 1.0}
        pd.DataFrame(columns).to_csv(folder / "losses.csv", index=False)
        scores = {"iteration": [19, 39], "segm/AP": [5.0, 8.0], "kaggle/mAP": [50.0, 40.0]}
        scores["validation/total_loss"] = [3.5, 3.25]
        pd.DataFrame(scores).to_csv(folder / "evaluation.csv", index=False)
        config = {
            "DATASETS": {"TRAIN": ["synthetic_train"]},
            "DATALOADER": {"FILTER_EMPTY_ANNOTATIONS": filter_empty},
            "SOLVER": {"IMS_PER_BATCH": 2},
            "TEST": {"BEST_METRIC": metric},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        return folder

    return make


def read(folder):
    from nucdet.data.datasets import register_datasets

    register_datasets()
    return read_log(folder)


def test_a_log_knows_its_metric_and_its_epochs(make_run):
    run = read(make_run("a"))
    assert (run.name, run.metric, run.epoch) == ("a", "kaggle/mAP", 8)
    assert epoch_ends(run) == [8, 16, 24, 32, 40]
    assert read(make_run("b", filter_empty=False)).epoch == 10
    assert read(make_run("c", metric="foreground/IoU")).metric == "segm/AP"


def test_without_config_or_data_there_are_no_epochs(make_run, monkeypatch):
    folder = make_run("a")
    monkeypatch.setenv("DETECTRON2_DATASETS", "nowhere")
    assert read(folder).epoch is None
    (folder / "config.yaml").unlink()
    (folder / "evaluation.csv").unlink()
    run = read(folder)
    assert run.metric is None and epoch_ends(run) == []
    assert [text.get_text() for text in draw_logs([run]).axes[1].texts] == ["no evaluation"]


def test_many_epochs_are_thinned():
    losses = pd.DataFrame({"iteration": range(1000)})
    run = TrainingLog("a", losses, losses, None, epoch=10.0)
    assert epoch_ends(run)[:2] == [50, 100] and len(epoch_ends(run)) == 20


def test_smoothing_is_a_mean_about_each_value_without_lag():
    values = pd.Series([0.0] * 50 + [1.0] * 50)
    result = smoothed(values)
    assert result[:44].eq(0).all() and result[56:].eq(1).all()
    assert result[49] + result[50] == pytest.approx(1)


def test_one_run_shows_all_losses_several_their_totals(make_run):
    runs = [read(make_run("a")), read(make_run("b", metric="segm/AP"))]
    above, below = draw_logs(runs[:1]).axes
    labels = [text.get_text() for text in above.get_legend().get_texts()]
    assert labels == [
        "total_loss", "loss_cls", "loss_mask", "validation/total_loss", "epoch of 8 iterations",
    ]  # fmt: skip
    assert [t.get_text() for t in below.get_legend().get_texts()] == ["a: kaggle/mAP, best 50.00"]
    above, below = draw_logs(runs).axes
    assert [t.get_text() for t in above.get_legend().get_texts()] == [
        "a", "a, validation", "a: epoch of 8 iterations",
        "b", "b, validation", "b: epoch of 8 iterations",
    ]  # fmt: skip
    assert below.get_legend().get_texts()[1].get_text() == "b: segm/AP, best 8.00"


def test_the_tool_writes_the_image(make_run, run_tool, tmp_path):
    first, second = make_run("a"), make_run("b")
    assert plot_training([first]) == first / "training.png"
    chosen = tmp_path / "both.png"
    code, printed, _ = run_tool("plot_training.py", first, second, "--output", chosen)
    assert code == 0 and str(chosen) in printed
    assert Image.open(chosen).size[0] > 500


def test_bad_logs_are_one_line(make_run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"losses\.csv: not found"):
        plot_training([tmp_path / "nowhere"])
    folder = make_run("a")
    for text in ("", "iteration,total_loss\n", "a,b\n1,2\n"):
        (folder / "losses.csv").write_text(text)
        with pytest.raises(InputError, match=r"losses\.csv: "):
            plot_training([folder])
    assert not (folder / "training.png").exists()
