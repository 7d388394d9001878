"""Runs that were interrupted, killed or changed, and --resume."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from nucdet.predict import reading
from nucdet.predict.run import predict_images


def test_resume_goes_on_after_an_interruption_with_the_same_result(
    job, monkeypatch, bright_is_nucleus, contents
):
    predict_images(job("whole"), bright_is_nucleus())
    monkeypatch.setattr(reading, "_TOGETHER", 2)
    with pytest.raises(KeyboardInterrupt):
        predict_images(job(), bright_is_nucleus(interrupt_at="c.tif"))
    left = contents(job().output)
    whole = contents(job("whole").output)
    # only whole files, only of the first two
    assert left == {
        n: b for n, b in whole.items() if n.startswith(("a", "b", ".records/a", ".records/b"))
    }
    predictor = bright_is_nucleus()
    predict_images(job(resume=True), predictor)
    assert predictor.seen == [["c.tif", "d.png"]]
    assert contents(job().output) == whole


def test_an_interruption_while_writing_leaves_no_half_file(
    job, monkeypatch, bright_is_nucleus, contents
):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("nucdet.export.label_image.tifffile.imwrite", stop)
    with pytest.raises(KeyboardInterrupt):
        predict_images(job(), bright_is_nucleus())
    # a note of what was being written, so that the next run knows it for its own
    assert list(contents(job().output)) == [".records/a.json"]


def test_resume_with_nothing_left_loads_no_network(job, bright_is_nucleus, contents):
    predict_images(job(), bright_is_nucleus())
    before = contents(job().output)

    def fail():
        raise AssertionError("a network was built")

    predict_images(job(resume=True), fail)
    assert contents(job().output) == before


def test_resume_redoes_what_is_missing_or_was_made_otherwise(job, bright_is_nucleus):
    predict_images(job(save=("label",)), bright_is_nucleus())
    (job().output / "a_label.tif").unlink()
    again = bright_is_nucleus()
    predict_images(job(save=("label",), resume=True), again)
    assert again.seen == [["a.png"]]
    more = bright_is_nucleus()
    predict_images(job(save=("label", "csv"), resume=True), more)
    assert more.seen == [list(bright_is_nucleus.names.values())]
    other = bright_is_nucleus()
    predict_images(job(save=("label",), settings="other", resume=True), other)
    assert other.seen == [list(bright_is_nucleus.names.values())]


@pytest.mark.parametrize("size", [0, 10])
@pytest.mark.parametrize("name", ["c_label.tif", "c_overlay.png", "c.csv", "c_rois.zip"])
def test_resume_repairs_outputs_that_a_crash_cut_short(
    job, name, size, bright_is_nucleus, contents
):
    predict_images(job(), bright_is_nucleus())
    whole = contents(job().output)
    (job().output / name).write_bytes(whole[name][:size])
    predictor = bright_is_nucleus()
    predict_images(job(resume=True), predictor)
    assert predictor.seen == [["c.tif"]]
    assert contents(job().output) == whole


def test_what_a_killed_run_left_half_written_is_removed(job, bright_is_nucleus, contents):
    predict_images(job(), bright_is_nucleus())
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
def test_an_image_with_a_damaged_record_counts_as_not_done(
    job, damage, bright_is_nucleus, contents
):
    predict_images(job(), bright_is_nucleus())
    whole = contents(job().output)
    path = job().output / ".records" / "c.json"
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    (job().output / ".records" / "stranger.json").write_text("{}")
    predictor = bright_is_nucleus()
    predict_images(job(resume=True), predictor)
    assert predictor.seen == [["c.tif"]]
    assert contents(job().output) == whole | {".records/stranger.json": b"{}"}


def test_a_format_over_all_images_is_added_without_predicting(job, bright_is_nucleus):
    predict_images(job(save=()), bright_is_nucleus())
    predict_images(job("fresh"), bright_is_nucleus())
    predictor = bright_is_nucleus()
    predict_images(job(save=("coco", "kaggle"), resume=True), predictor)
    assert predictor.seen == []
    for name in ("predictions_coco.json", "kaggle.csv"):
        assert (job().output / name).read_bytes() == (job("fresh").output / name).read_bytes()


def test_resume_tries_failed_images_again(job, images, bright_is_nucleus):
    whole = (images / "b.png").read_bytes()
    (images / "b.png").write_bytes(b"")
    predict_images(job(), bright_is_nucleus())
    (images / "b.png").write_bytes(whole)
    predictor = bright_is_nucleus()
    predict_images(job(resume=True), predictor)
    assert predictor.seen == [["b.png"]]
    assert pd.read_csv(job().output / "summary.csv")["error"].isna().all()
