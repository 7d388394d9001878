"""The loop over images with a predictor that takes what is bright for nuclei."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from PIL import Image
from scipy import ndimage

from nucdet.data.io.planes import open_planes
from nucdet.predict import Prediction, reading, run
from nucdet.predict.familiarity import UNFAMILIAR
from nucdet.predict.files import find_inputs
from nucdet.predict.formats import FORMATS
from nucdet.predict.job import Job
from nucdet.predict.options import PredictOptions
from nucdet.predict.run import predict_images
from nucdet.structures import CroppedMasks


class BrightIsNucleus:
    """Stands for Segmenter; ``seen`` are the names it was asked for, each time together."""

    class_names = ("nucleus",)
    open = staticmethod(open_planes)

    def __init__(
        self, interrupt_at: str | None = None, most: int = 8, unfamiliar: tuple[str, ...] = ()
    ):
        self.seen: list[list[str]] = []
        self._unfamiliar = unfamiliar
        self._interrupt_at, self._most = interrupt_at, most

    def __call__(self) -> BrightIsNucleus:
        return self

    def predict_windows(self, sources, diameter=None, progress=None):
        self.seen.append([NAMES.get(source.size, "") for source in sources])
        if self._interrupt_at in self.seen[-1]:
            raise KeyboardInterrupt
        if len(sources) > self._most:
            raise MemoryError
        return [self._predict(source) for source in sources]

    def _predict(self, source):
        bright = source.read(source.whole())[..., 0] > 127
        masks = CroppedMasks.from_label_map(ndimage.label(bright)[0])
        fields = {
            "pred_masks": masks,
            "pred_boxes": Boxes(torch.from_numpy(masks.boxes)),
            "scores": torch.linspace(1, 0.5, len(masks)),
            "pred_classes": torch.zeros(len(masks), dtype=torch.int64),
        }
        how = 0.5 if NAMES.get(source.size) in self._unfamiliar else 2.0
        return Prediction(Instances(masks.image_size, **fields), source, familiarity=how)


@pytest.fixture
def images(tmp_path) -> Path:
    """a.png: 3 nuclei; b.png: none; c.tif: 16 bits, 1 nucleus; sub/d.png: 2, on 8 × 8 pixels."""
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    a = np.zeros((30, 40, 3), np.uint8)
    a[2:8, 3:9] = a[10:15, 10:30] = a[25:, 35:] = 200
    Image.fromarray(a).save(folder / "a.png")
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(folder / "b.png")
    c = np.full((20, 30), 300, np.uint16)
    c[5:10, 5:15] = 3000
    tifffile.imwrite(folder / "c.tif", c)
    d = np.zeros((8, 8), np.uint8)
    d[1:3, 1:3] = d[5:7, 5:8] = 255
    Image.fromarray(d).save(folder / "sub" / "d.png")
    return folder


NAMES = {(30, 40): "a.png", (20, 20): "b.png", (20, 30): "c.tif", (8, 8): "d.png"}
COUNTS = {"a.png": 3, "b.png": 0, "c.tif": 1, "sub/d.png": 2}


@pytest.fixture
def job(images, tmp_path):
    """A job on the images with all formats; fields may be changed."""

    def make(output="out", **changes):
        out = tmp_path / output
        out.mkdir(exist_ok=True)
        files = changes.pop("files", None) or tuple(find_inputs([str(images)], out))
        settings = changes.pop("settings", "s")
        options = PredictOptions(out, **{"save": tuple(FORMATS)} | changes)
        return Job(options, files, settings)

    return make


def contents(folder: Path) -> dict[str, bytes]:
    files = (f for f in folder.rglob("*") if f.is_file())
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files}


def test_every_image_has_its_files_and_the_folder_those_over_all(job):
    predict_images(job(), BrightIsNucleus())
    endings = ("_label.tif", "_overlay.png", ".csv", ".geojson", "_rois.zip")
    expected = {f"{name}{ending}" for name in ("a", "b", "c", "sub/d") for ending in endings}
    expected |= {"summary.csv", "nuclei.csv", "report.html", "predictions_coco.json", "kaggle.csv"}
    written = set(contents(job().output))
    assert {name for name in written if not name.startswith(".records/")} == expected


def test_all_formats_agree_on_the_counts(job):
    predict_images(job(), BrightIsNucleus())
    out = job().output
    summary = pd.read_csv(out / "summary.csv").set_index("image")["nuclei"]
    assert summary.to_dict() == COUNTS
    coco = json.loads((out / "predictions_coco.json").read_text())
    for image in coco["images"]:
        name = image["file_name"].rpartition(".")[0]
        count = COUNTS[image["file_name"]]
        assert tifffile.imread(out / f"{name}_label.tif").max() == count
        assert len(pd.read_csv(out / f"{name}.csv")) == count
        assert len(json.loads((out / f"{name}.geojson").read_text())["features"]) == count
        assert sum(a["image_id"] == image["id"] for a in coco["annotations"]) == count
    assert "6 nuclei in 4 images" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("shape", "dtype", "scale"),
    [
        ((30, 40), np.uint8, 1),
        ((30, 40), np.uint16, 200),
        ((30, 40), np.float32, 1e-3),
        ((30, 40, 1), np.uint8, 1),
        ((30, 40, 3), np.uint8, 1),
        ((30, 40, 4), np.uint8, 1),
        ((30, 40, 4), np.uint16, 200),
        ((8, 8), np.uint8, 1),
        ((8, 8), np.uint16, 0),
        ((1, 5000), np.uint8, 1),
    ],
)
def test_any_image_is_given_back_in_its_size(tmp_path, job, shape, dtype, scale):
    pixels = np.zeros(shape, np.float64)
    pixels[:, :4] = 200 * scale
    (tmp_path / "odd").mkdir()
    tifffile.imwrite(
        tmp_path / "odd" / "x.tif",
        pixels.astype(dtype),
        photometric="rgb" if shape[-1] in (3, 4) else "minisblack",
        extrasamples=["unassalpha"] if shape[-1] == 4 else None,
    )
    files = tuple(find_inputs([str(tmp_path / "odd")], tmp_path / "out"))
    predict_images(job(files=files), BrightIsNucleus())
    out, count = job().output, int(scale > 0)
    summary = pd.read_csv(out / "summary.csv")
    assert summary[["nuclei", "width", "height"]].values.tolist() == [[count, shape[1], shape[0]]]
    labels = tifffile.imread(out / "x_label.tif")
    assert labels.shape == shape[:2]
    assert np.count_nonzero(labels) == count * 4 * shape[0]
    with Image.open(out / "x_overlay.png") as overlay:
        assert overlay.width % shape[1] == overlay.height % shape[0] == 0 or shape[1] > 4096


def test_intensities_are_those_of_the_file(job):
    predict_images(job(save=("csv",)), BrightIsNucleus())
    table = pd.read_csv(job().output / "c.csv")
    assert table["area_px"].tolist() == [50]
    assert table["mean_intensity"].tolist() == [3000]
    assert table["score"].tolist() == [1]


def test_one_table_has_the_nuclei_of_all_images(job, images):
    (images / "b.png").write_bytes(b"")
    predict_images(job(save=("csv",)), BrightIsNucleus())
    table = pd.read_csv(job().output / "nuclei.csv")
    assert table["image"].tolist() == ["a.png"] * 3 + ["c.tif"] + ["sub/d.png"] * 2
    assert table["id"].tolist() == [1, 2, 3, 1, 1, 2]
    assert set(table["class"]) == {"nucleus"} and set(table["time"]) == set(table["z"]) == {0}
    # a.png is RGB, the others grey
    assert table["mean_intensity_g"].notna().tolist() == [True] * 3 + [False] * 3
    assert table["net_mean_intensity"].tolist()[3:] == [2700, 255, 255]
    predict_images(job("again", save=("csv",), resume=True), BrightIsNucleus())
    assert (job("again").output / "nuclei.csv").read_text() == (
        job().output / "nuclei.csv"
    ).read_text()


def test_nuclei_at_the_border_can_be_left_out(job):
    predict_images(job("all"), BrightIsNucleus())
    predict_images(job(exclude_border=True), BrightIsNucleus())
    every = pd.read_csv(job("all").output / "nuclei.csv")
    whole = pd.read_csv(job().output / "nuclei.csv")
    assert every["touches_border"].tolist() == [False, False, True, False, False, True]
    columns = ["image", "centroid_y_px", "area_px"]
    pd.testing.assert_frame_equal(
        whole[columns], every.loc[~every["touches_border"], columns].reset_index(drop=True)
    )
    # in every format
    out = job().output
    assert tifffile.imread(out / "a_label.tif").max() == 2
    assert pd.read_csv(out / "summary.csv")["nuclei"].tolist() == [2, 0, 1, 1]


def test_channels_to_measure(job, capsys):
    predict_images(job(save=("csv",), measure_channels=("b", "0")), BrightIsNucleus())
    a = pd.read_csv(job().output / "a.csv")
    assert [name for name in a if "mean_intensity" in name] == [
        "mean_intensity_b",
        "net_mean_intensity_b",
        "mean_intensity_r",
        "net_mean_intensity_r",
    ]
    assert a["mean_intensity_b"].tolist() == [200] * 3
    # grey images have no channel b
    assert capsys.readouterr().err.count("no channel 'b' to measure; the image has 0") == 3


def test_pixel_size_reaches_every_table(job):
    predict_images(job(save=("csv", "geojson", "label"), pixel_size=0.5), BrightIsNucleus())
    out = job().output
    assert pd.read_csv(out / "c.csv")["area_um2"].tolist() == [12.5]
    (feature,) = json.loads((out / "c.geojson").read_text())["features"]
    assert feature["properties"]["measurements"]["area_um2"] == 12.5
    assert pd.read_csv(out / "summary.csv")["median_area_um2"].tolist()[2] == 12.5
    page = (out / "report.html").read_text()
    assert '"areas":[12.5]' in page and '"unit":"µm²"' in page


def test_formats_that_are_not_asked_for_are_not_written(job):
    predict_images(job(save=("label",)), BrightIsNucleus())
    names = {n for n in contents(job().output) if not n.startswith(".records/")}
    labels = {f"{name}_label.tif" for name in ("a", "b", "c", "sub/d")}
    assert names == labels | {"summary.csv", "report.html"}


def test_two_runs_give_the_same_bytes(job):
    predict_images(job("one"), BrightIsNucleus())
    predict_images(job("two"), BrightIsNucleus())
    assert contents(job("one").output) == contents(job("two").output)


def test_two_processes_give_the_files_of_one(job, monkeypatch):
    predict_images(job("one"), BrightIsNucleus())
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "synchronize", lambda: None)
    predictors = BrightIsNucleus(), BrightIsNucleus()
    for rank in (1, 0):  # the main one ends last, as synchronize sees to
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(comm, "is_main_process", lambda rank=rank: rank == 0)
        predict_images(job("two"), predictors[rank])
    seen = [predictor.seen for predictor in predictors]
    assert seen == [[["a.png", "c.tif"]], [["b.png", "d.png"]]]
    assert contents(job("one").output) == contents(job("two").output)


def test_images_go_together_up_to_a_number_and_a_size(job, monkeypatch):
    monkeypatch.setattr(reading, "_TOGETHER", 3)
    monkeypatch.setattr(reading, "_PIXELS_TOGETHER", 30 * 40 + 20 * 20)
    predictor = BrightIsNucleus()
    predict_images(job("groups"), predictor)
    assert predictor.seen == [["a.png", "b.png"], ["c.tif", "d.png"]]
    # larger than the limit: alone
    monkeypatch.setattr(reading, "_PIXELS_TOGETHER", 30 * 40 - 1)
    predictor = BrightIsNucleus()
    predict_images(job(), predictor)
    assert predictor.seen == [["a.png"], ["b.png", "c.tif", "d.png"]]
    assert contents(job().output) == contents(job("groups").output)


def test_what_is_too_much_together_is_tried_one_by_one(job, capsys):
    predictor = BrightIsNucleus(most=1)
    predict_images(job(), predictor)
    assert predictor.seen == [list(NAMES.values()), *([name] for name in NAMES.values())]
    assert "failed" not in capsys.readouterr().err
    assert pd.read_csv(job().output / "summary.csv")["nuclei"].tolist() == list(COUNTS.values())
    predict_images(job("none"), BrightIsNucleus(most=0))
    assert capsys.readouterr().err.count("not enough memory for this image") == 4


def test_a_broken_file_is_reported_and_the_rest_goes_on(job, images, capsys):
    (images / "b.png").write_bytes((images / "b.png").read_bytes()[:40])
    (images / "c.tif").write_text("no image")
    predict_images(job(), BrightIsNucleus())
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed:")]
    assert len(lines) == 2
    assert "b.png: damaged" in lines[0] and "c.tif: not an image" in lines[1]
    out = job().output
    summary = pd.read_csv(out / "summary.csv").set_index("image")
    assert summary["nuclei"].dropna().to_dict() == {"a.png": 3, "sub/d.png": 2}
    assert summary["error"].dropna().index.tolist() == ["b.png", "c.tif"]
    assert "not an image" in (out / "report.html").read_text()
    assert not list(out.glob("b*")) and not list(out.glob("c*"))
    assert [job().records().error(f) is None for f in job().files] == [True, False, False, True]


def test_resume_goes_on_after_an_interruption_with_the_same_result(job, monkeypatch):
    predict_images(job("whole"), BrightIsNucleus())
    monkeypatch.setattr(reading, "_TOGETHER", 2)
    with pytest.raises(KeyboardInterrupt):
        predict_images(job(), BrightIsNucleus(interrupt_at="c.tif"))
    left = contents(job().output)
    whole = contents(job("whole").output)
    # only whole files, only of the first two
    assert left == {
        n: b for n, b in whole.items() if n.startswith(("a", "b", ".records/a", ".records/b"))
    }
    predictor = BrightIsNucleus()
    predict_images(job(resume=True), predictor)
    assert predictor.seen == [["c.tif", "d.png"]]
    assert contents(job().output) == whole


def test_an_interruption_while_writing_leaves_no_half_file(job, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("nucdet.export.label_image.tifffile.imwrite", stop)
    with pytest.raises(KeyboardInterrupt):
        predict_images(job(), BrightIsNucleus())
    assert contents(job().output) == {}


def test_resume_with_nothing_left_loads_no_network(job):
    predict_images(job(), BrightIsNucleus())
    before = contents(job().output)

    def fail():
        raise AssertionError("a network was built")

    predict_images(job(resume=True), fail)
    assert contents(job().output) == before


def test_resume_redoes_what_is_missing_or_was_made_otherwise(job):
    predict_images(job(save=("label",)), BrightIsNucleus())
    (job().output / "a_label.tif").unlink()
    again = BrightIsNucleus()
    predict_images(job(save=("label",), resume=True), again)
    assert again.seen == [["a.png"]]
    more = BrightIsNucleus()
    predict_images(job(save=("label", "csv"), resume=True), more)
    assert more.seen == [list(NAMES.values())]
    other = BrightIsNucleus()
    predict_images(job(save=("label",), settings="other", resume=True), other)
    assert other.seen == [list(NAMES.values())]


@pytest.mark.parametrize("size", [0, 10])
@pytest.mark.parametrize("name", ["c_label.tif", "c_overlay.png", "c.csv", "c_rois.zip"])
def test_resume_repairs_outputs_that_a_crash_cut_short(job, name, size):
    predict_images(job(), BrightIsNucleus())
    whole = contents(job().output)
    (job().output / name).write_bytes(whole[name][:size])
    predictor = BrightIsNucleus()
    predict_images(job(resume=True), predictor)
    assert predictor.seen == [["c.tif"]]
    assert contents(job().output) == whole


def test_what_a_killed_run_left_half_written_is_removed(job):
    predict_images(job(), BrightIsNucleus())
    whole = contents(job().output)
    mine = [".a_label-k3_x9abz.tif", "sub/.d-aaaaaaaa.csv", ".records/.c-bbbbbbbb.json"]
    mine += [".summary-cccccccc.csv", ".predictions_coco-dddddddd.json"]
    others = {".of_a_user-aaaaaaaa.csv": b"x", ".a-b.csv": b"x"}
    for name in (*mine, *others):
        (job().output / name).write_bytes(b"x")
    job(resume=True).clean_up()
    assert contents(job().output) == whole | others


def _other_fields(record: bytes) -> bytes:
    content = json.loads(record)
    content["record"]["strange"] = content["record"].pop("areas")
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: b"",
        lambda record: record[:10],
        lambda record: record[:-40],
        lambda record: record.replace(b'"areas":[50]', b'"areas":[58]'),
        lambda record: b"[" * 100_000,
        lambda record: b"[1, 2]",
        lambda record: b"\x00\xff" * 50,
        _other_fields,
    ],
    ids=["empty", "10 bytes", "cut", "digit", "nested", "list", "binary", "other fields"],
)
def test_an_image_with_a_damaged_record_counts_as_not_done(job, damage):
    predict_images(job(), BrightIsNucleus())
    whole = contents(job().output)
    path = job().output / ".records" / "c.json"
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    (job().output / ".records" / "stranger.json").write_text("{}")
    predictor = BrightIsNucleus()
    predict_images(job(resume=True), predictor)
    assert predictor.seen == [["c.tif"]]
    assert contents(job().output) == whole | {".records/stranger.json": b"{}"}


def test_a_format_over_all_images_is_added_without_predicting(job):
    predict_images(job(save=()), BrightIsNucleus())
    predict_images(job("fresh"), BrightIsNucleus())
    predictor = BrightIsNucleus()
    predict_images(job(save=("coco", "kaggle"), resume=True), predictor)
    assert predictor.seen == []
    for name in ("predictions_coco.json", "kaggle.csv"):
        assert (job().output / name).read_bytes() == (job("fresh").output / name).read_bytes()


def test_resume_tries_failed_images_again(job, images):
    whole = (images / "b.png").read_bytes()
    (images / "b.png").write_bytes(b"")
    predict_images(job(), BrightIsNucleus())
    (images / "b.png").write_bytes(whole)
    predictor = BrightIsNucleus()
    predict_images(job(resume=True), predictor)
    assert predictor.seen == [["b.png"]]
    assert pd.read_csv(job().output / "summary.csv")["error"].isna().all()


@pytest.mark.parametrize("named", [1, 5])
def test_unfamiliar_images_are_named_on_the_screen_and_in_the_table(
    job, capsys, monkeypatch, named
):
    monkeypatch.setattr(run, "_NAMED", named)
    predict_images(job(save=()), BrightIsNucleus(unfamiliar=("a.png", "c.tif")))
    names = {1: "a.png, … (2 of 4)", 5: "a.png, c.tif"}[named]
    assert capsys.readouterr().out == f"{UNFAMILIAR}: {names}\n"
    summary = pd.read_csv(job().output / "summary.csv", index_col="image")
    assert summary["familiarity"].to_dict() == {
        "a.png": 0.5,
        "b.png": 2,
        "c.tif": 0.5,
        "sub/d.png": 2,
    }
    assert summary["warning"].dropna().to_dict() == {"a.png": UNFAMILIAR, "c.tif": UNFAMILIAR}


def test_an_output_that_cannot_be_written_ends_the_run(job):
    (job().output / "a.csv").mkdir()
    with pytest.raises(OSError, match=r"a\.csv"):
        predict_images(job(), BrightIsNucleus())
