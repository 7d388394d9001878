import json
from functools import partial

import pytest
import yaml

from nucdet.config import load_config


@pytest.fixture
def run(run_tool):
    return partial(run_tool, "tune_thresholds.py")


def masks(*rows):
    """Whole rows of a 4 × 10 image, as uncompressed RLE down the columns."""
    return [{"size": [4, 10], "counts": [row, *[1, 3] * 9, 1, 3 - row]} for row in rows]


@pytest.fixture
def files(tmp_path):
    """A nucleus, found surely; another mask that is there but unsure."""
    image = {"id": 1, "file_name": "a.png", "height": 4, "width": 10}
    [segmentation] = masks(0)
    truth = {"images": [image], "categories": [{"id": 1, "name": "nucleus"}]}
    truth["annotations"] = [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation}
    ]
    results = [
        {"image_id": 1, "category_id": 1, "segmentation": rle, "score": score}
        for rle, score in zip(masks(0, 2), (0.9, 0.2), strict=True)
    ]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(results))
    return "--ground-truth", tmp_path / "truth.json", "--predictions", tmp_path / "results.json"


def test_finds_the_threshold(run, files, tmp_path):
    grid = ("--score-thresholds", 0.1, 0.5, "--min-areas", 0, "--min-relative-areas", 0)
    grid += ("--min-relative-scores", 0)
    for _ in range(2):  # again is safe
        code, out, err = run(*files, "--output-dir", tmp_path / "out", *grid)
        assert code == 0, err
    assert "100.0000" in out
    best = yaml.safe_load((tmp_path / "out" / "best.yaml").read_text())
    overlap = best["TEST"]["OVERLAP_ELIMINATION"]
    assert overlap["CLASS_SCORE_THRESHOLDS"] == [0.5]
    assert set(overlap) == set(load_config().TEST.OVERLAP_ELIMINATION)  # no other rule is left on
    assert len((tmp_path / "out" / "thresholds.csv").read_text().splitlines()) == 3
    offsets = ("--outline-offsets", -1, 0)
    code, _, err = run(*files, "--output-dir", tmp_path / "out", *grid, *offsets)
    assert code == 0, err
    assert len((tmp_path / "out" / "outline_offsets.csv").read_text().splitlines()) == 3


def test_a_mistake_is_one_line_and_exit_code_2(run, files, tmp_path):
    wrong = (*files[:3], tmp_path / "missing.json")
    code, _, err = run(*wrong, "--output-dir", tmp_path / "out")
    assert code == 2
    assert "missing.json: no such file" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
