import runpy
import sys

import pytest


@pytest.fixture
def run(monkeypatch, repository, registered, tmp_path):
    """Run the tool in this process, writing to ``tmp_path / "out"``; its exit code."""

    def run_with(*arguments):
        tool = str(repository / "tools/visualize_data.py")
        config = str(repository / "configs/DSB2018/mask_rcnn_lite0_FPN.yaml")
        options = ["--config-file", config, "--output-dir", str(tmp_path / "out"), *arguments]
        monkeypatch.setattr(sys, "argv", [tool, *options])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(tool, run_name="__main__")
        return end.value.code

    return run_with


@pytest.mark.parametrize("source", ["training", "annotation"])
def test_draws_as_many_as_asked_for(run, tmp_path, capsys, source):
    train = ["DATASETS.TRAIN", "('synthetic_train',)"]
    assert run("--source", source, "--num", "2", "--seed", "5", *train) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    assert capsys.readouterr().out == f"2 pictures in {tmp_path / 'out'}\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["DATASETS.TRAIN", "('no_such',)"], "'no_such'"),
        (["--config-file", "no.yaml"], "no.yaml: no such config file"),
        ([], "instances_train.json: not found"),  # of DSB2018, which the config names
        (["--num", "0"], "0 pictures"),
        (["NO.SUCH.KEY", "1"], "NO.SUCH.KEY"),
    ],
)
def test_mistakes_are_one_line_and_code_2(run, tmp_path, capsys, arguments, complaint):
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and complaint in error
    assert not (tmp_path / "out").exists()
