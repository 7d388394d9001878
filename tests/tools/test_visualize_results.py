import json
from functools import partial

import pytest


@pytest.fixture
def run(run_tool, registered, tmp_path):
    """The tool, writing to ``tmp_path / "out"``."""
    return partial(run_tool, "visualize_results.py", "--output-dir", tmp_path / "out")


@pytest.fixture
def submission(tmp_path):
    """A submission that says that there are no nuclei."""
    path = tmp_path / "submission.csv"
    path.write_text("ImageId,EncodedPixels\n")
    return path


def test_prints_score_and_file_and_overwrites(run, submission, tmp_path):
    options = ["--input", submission, "--dataset", "synthetic_val", "--sort", "worst"]
    (first, printed, _), (second, again, _) = run(*options), run(*options)
    assert first == second == 0
    files = sorted(str(f) for f in (tmp_path / "out").glob("*.png"))
    assert len(files) == 4
    lines = [f"0.000  {file}" for file in files] + [f"4 images in {tmp_path / 'out'}"]
    assert printed.splitlines() == again.splitlines() == lines


def test_the_overlap_rules_of_a_config(run, registered, tmp_path):
    """The ground truth as prediction, and a config to which all of its nuclei are too small."""
    truth = json.loads((registered / "synthetic/annotations/instances_val.json").read_text())
    masks = [{k: a[k] for k in ("image_id", "category_id", "segmentation")} for a in
             truth["annotations"]]  # fmt: skip
    predictions = tmp_path / "coco_instances_results.json"
    predictions.write_text(json.dumps([{**mask, "score": 0.9} for mask in masks]))
    config = tmp_path / "strict.yaml"
    config.write_text("TEST: {OVERLAP_ELIMINATION: {MIN_AREA: 100000}}\n")
    options = ("--input", predictions, "--dataset", "synthetic_val")
    scores = [
        [line.split()[0] for line in run(*options, *more)[1].splitlines()[:4]]
        for more in ((), ("--config-file", config))
    ]
    assert scores == [["1.000"] * 4, ["0.000"] * 4]


def test_mistakes_are_one_line_and_code_2(run, submission, tmp_path):
    for options, complaint in (
        (["--input", submission, "--dataset", "no_such"], "'no_such'"),
        (["--input", tmp_path / "no.json", "--dataset", "synthetic_val"], "no.json: no such file"),
        (["--input", submission, "--ground-truth", tmp_path / "no.json"], "no.json: no such file"),
        (["--input", submission, "--dataset", "dsb2018_val"], "instances_val.json"),
    ):
        code, _, error = run(*options)
        assert code == 2
        assert error.startswith("error: ") and error.count("\n") == 1 and complaint in error
    assert not (tmp_path / "out").exists()


def test_truth_is_needed_once(run, submission):
    code, _, error = run("--input", submission)
    assert code == 2 and "--dataset" in error
