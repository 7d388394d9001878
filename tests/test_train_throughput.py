"""benchmarks/train_throughput.py: one table for this code, a commit and Detectron2's trainer."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

ROW = re.compile(r"^(.{20})((?: +[\d.]+){5})$")


def run(repository, root, *arguments):
    script = str(repository / "benchmarks/train_throughput.py")
    environment = {**os.environ, "DETECTRON2_DATASETS": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mask_rcnn_lite0_FPN", "unet_lite0"])
def test_table_of_this_code_a_commit_and_detectron2(network, repository, drawn_root):
    config = repository / f"configs/quick_schedules/{network}_synthetic.yaml"
    overrides = "MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", "2"
    small = "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.CROP.SIZE", "[64, 64]"
    options = "--dataset", "synthetic_train", "--iterations", "7", "--against", "HEAD"
    done = run(repository, drawn_root, "--config-file", config, *options, *overrides, *small)
    assert done.returncode == 0, done.stderr
    rows = [match for line in done.stdout.splitlines() if (match := ROW.match(line))]
    assert [row[1].strip() for row in rows] == ["Detectron2", "nucdet HEAD", "nucdet here"]
    for row in rows:
        seconds, cpu_seconds, data_seconds, peak_gib, _ = map(float, row[2].split())
        assert 0 <= data_seconds < seconds
        assert cpu_seconds > 0
        assert 0.1 < peak_gib < 10
    assert "Detectron2 needs" in done.stdout


def test_a_commit_that_git_does_not_know_is_said(repository, drawn_root):
    done = run(repository, drawn_root, "--against", "no-such-commit")
    assert done.returncode == 1
    assert done.stderr.startswith("error: --against no-such-commit: ")
    assert done.stderr.count("\n") == 1


def test_a_config_that_does_not_exist_is_said(repository, drawn_root):
    done = run(repository, drawn_root, "--profile", "--config-file", "nothing.yaml")
    assert done.returncode == 2
    assert done.stderr.endswith("error: --config-file nothing.yaml: no such file\n")
