import runpy
import sys

import pytest


@pytest.fixture
def run(monkeypatch, repository, registered, tmp_path):
    """Run the tool in this process, writing to ``tmp_path / "out"``; its exit code."""

    def run_with(*arguments):
        tool = str(repository / "tools/visualize_results.py")
        options = ["--output-dir", tmp_path / "out", *arguments]
        monkeypatch.setattr(sys, "argv", [tool, *map(str, options)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(tool, run_name="__main__")
        return end.value.code

    return run_with


@pytest.fixture
def submission(tmp_path):
    """A submission that says that there are no nuclei."""
    path = tmp_path / "submission.csv"
    path.write_text("ImageId,EncodedPixels\n")
    return path


def test_prints_score_and_file_and_overwrites(run, submission, tmp_path, capsys):
    options = ["--input", submission, "--dataset", "synthetic_val", "--sort", "worst"]
    assert run(*options) == run(*options) == 0
    files = sorted(str(f) for f in (tmp_path / "out").glob("*.png"))
    assert len(files) == 4
    lines = [f"0.000  {file}" for file in files] + [f"4 pictures in {tmp_path / 'out'}"]
    assert capsys.readouterr().out.splitlines() == 2 * lines


def test_mistakes_are_one_line_and_code_2(run, submission, tmp_path, capsys):
    for options, complaint in (
        (["--input", submission, "--dataset", "no_such"], "'no_such'"),
        (["--input", tmp_path / "no.json", "--dataset", "synthetic_val"], "no.json: no such file"),
        (["--input", submission, "--ground-truth", tmp_path / "no.json"], "no.json: no such file"),
        (["--input", submission, "--dataset", "dsb2018_val"], "instances_val.json"),
    ):
        assert run(*options) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and complaint in error
    assert not (tmp_path / "out").exists()


def test_truth_is_needed_once(run, submission, capsys):
    assert run("--input", submission) == 2
    assert "--dataset" in capsys.readouterr().err
