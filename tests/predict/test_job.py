"""What a run depends on, so that --resume goes on only where the results would be the same."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from nucdet.errors import InputError
from nucdet.export import ImageRecord
from nucdet.predict import job as job_module
from nucdet.predict.job import prepare
from nucdet.predict.options import PredictOptions

SEMANTIC = "DSB2018/unet_small.yaml"


@pytest.fixture
def settings(images, tmp_path):
    """The text that tells runs with other results apart, for some MODEL.WEIGHTS."""

    def of_weights(weights):
        opts = ("MODEL.WEIGHTS", str(weights))
        options = PredictOptions(
            tmp_path / "out", (str(images),), config_file=SEMANTIC, opts=opts, resume=True
        )
        return prepare(options).settings

    return of_weights


@pytest.mark.parametrize("source", ["{a}", "ensemble://{a},{b}", "filter://{b}"])
def test_settings_differ_once_a_checkpoint_is_trained_again(settings, tmp_path, source):
    files = {name: tmp_path / f"{name}.pth" for name in "ab"}
    for file in files.values():
        file.write_bytes(b"weights")
    weights = source.format(**files)
    before = settings(weights)
    assert settings(weights) == before
    for file in files.values():
        file.write_bytes(b"other weights")
    assert settings(weights) != before


def test_settings_differ_once_a_record_has_another_field(settings, tmp_path, monkeypatch):
    weights = tmp_path / "a.pth"
    weights.touch()
    before = settings(weights)

    @dataclass(frozen=True)
    class LaterRecord(ImageRecord):
        later: int = 0

    monkeypatch.setattr(job_module, "ImageRecord", LaterRecord)
    assert settings(weights) != before


def test_a_diameter_that_the_network_would_not_notice_is_one_line(images, tmp_path):
    weights = tmp_path / "a.pth"
    weights.touch()
    options = PredictOptions(
        tmp_path / "out",
        (str(images),),
        config_file=SEMANTIC,
        opts=("MODEL.WEIGHTS", str(weights)),
        diameter=40.0,
    )
    with pytest.raises(InputError, match=r"diameter is 40\.0, but .* at 128 × 128 pixels"):
        prepare(options)


def test_overlapping_nuclei_are_not_written_to_a_label_image(images, tmp_path):
    """LIVECell's configs leave overlaps: a label image would lack nuclei that its csv has."""
    weights = tmp_path / "a.pth"
    weights.touch()

    def options(*save, opts=()):
        opts = ("MODEL.WEIGHTS", str(weights), *opts)
        config = "LIVECell/mask_rcnn_lite0_FPN.yaml"
        return PredictOptions(tmp_path / "out", (str(images),), save, config, opts)

    with pytest.raises(InputError, match=r"--save label,kaggle: .* save only some of overlay,csv"):
        prepare(options("label", "csv", "kaggle"))
    assert not (tmp_path / "out").exists()
    prepare(options("overlay", "csv", "coco", "geojson", "roi"))
    prepare(options("label", opts=("TEST.OVERLAP_ELIMINATION.ENABLED", "True")))


@pytest.mark.parametrize(
    ("config", "diameter", "expected"),
    [
        (None, None, "estimated for each image"),
        (SEMANTIC, None, "not given, images resized as in evaluation"),
        ("DSB2018/unet_lite0.yaml", "auto", "estimated for each image"),
        (None, 40.0, "40 pixels"),
    ],
)
def test_the_report_says_where_the_diameter_is_from(images, tmp_path, config, diameter, expected):
    weights = tmp_path / "a.pth"
    weights.touch()
    opts = ("MODEL.WEIGHTS", str(weights)) if config else ()
    options = PredictOptions(
        tmp_path / "out", (str(images),), config_file=config, opts=opts, diameter=diameter
    )
    assert dict(prepare(options).facts)["Nucleus diameter"] == expected
