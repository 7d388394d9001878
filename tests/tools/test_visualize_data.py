from functools import partial

import pytest


@pytest.fixture
def run(run_tool, repository, registered, tmp_path):
    """The tool, writing to ``tmp_path / "out"``."""
    config = repository / "configs/DSB2018/mask_rcnn_lite0_FPN.yaml"
    options = ["--config-file", config, "--output-dir", tmp_path / "out"]
    return partial(run_tool, "visualize_data.py", *options)


@pytest.mark.parametrize("source", ["training", "annotation"])
def test_draws_as_many_as_asked_for(run, tmp_path, source):
    train = ["DATASETS.TRAIN", "('synthetic_train',)"]
    code, printed, _ = run("--source", source, "--num", "2", "--seed", "5", *train)
    assert code == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    assert printed == f"2 images in {tmp_path / 'out'}\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["DATASETS.TRAIN", "('no_such',)"], "'no_such'"),
        (["--config-file", "no.yaml"], "no.yaml: no such config file"),
        ([], "instances_train.json: not found"),  # of DSB2018, which the config names
        (["--num", "0"], "0 images"),
        (["NO.SUCH.KEY", "1"], "NO.SUCH.KEY"),
    ],
)
def test_mistakes_are_one_line_and_code_2(run, tmp_path, arguments, complaint):
    code, _, error = run(*arguments)
    assert code == 2
    assert error.startswith("error: ") and error.count("\n") == 1 and complaint in error
    assert not (tmp_path / "out").exists()
