from __future__ import annotations

import pytest

CONFIG = "configs/quick_schedules/mask_rcnn_lite0_FPN_synthetic.yaml"


@pytest.fixture
def run_script(registered, run_tool):
    return run_tool


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("search.py", ["--grid", "SOLVER.BASE_LT=1"], "Non-existent key: SOLVER.BASE_LT"),
        ("search.py", ["--random", "SOLVER.BASE_LR=uniform(1,2)"], "--trials N belongs to"),
        ("search.py", ["--grid", "MODEL.ROI_HEADS.NAME=MyHeads"], "'MyHeads', which does not"),
        ("search.py", ["--grid", "MODEL.SEGMENTATION.NETWORK=MyNet"], "'MyNet', which does not"),
        ("cross_validate.py", [], "synthetic, for which nucdet-convert makes no folds"),
        ("cross_validate.py", ["DATASETS.TRAIN", "('dsb2018_train',)"], "no split, but no folds"),
        ("cross_validate.py", ["--leave-out-kind"], "--kinds"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    run_script, repository, tmp_path, tool, arguments, message
):
    output = tmp_path / "output"
    config = ["--config-file", str(repository / CONFIG), "--output-dir", str(output)]
    code, _, error = run_script(tool, *config, *arguments)
    assert code == 2
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not output.exists()


@pytest.mark.parametrize("tool", ["search.py", "cross_validate.py"])
def test_help_shows_examples(run_script, tool):
    code, out, _ = run_script(tool, "--help")
    assert code == 0 and f"{tool} --config-file" in out
