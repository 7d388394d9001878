"""What docs/architecture.md shows to add from outside does so, as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nucdet.data.io.reading import read_image

REPOSITORY = Path(__file__).parent.parent
NAMES = ("my_nuclei.py", "my_nuclei.yaml", "my_train.py")


@pytest.fixture
def run(tmp_path, registered):
    """Run a script of tools/, or a file of the page, in a folder that holds the page's files."""
    page = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:python|yaml)\n(.*?)^```$", page, re.M | re.S)
    for name, block in zip(NAMES, blocks, strict=True):
        assert f"`{name}`" in page
        (tmp_path / name).write_text(block, encoding="utf-8")
    path = os.pathsep.join([str(REPOSITORY), str(tmp_path)])
    outside = {"PYTHONPATH": path, "NUCDET_EXTENSIONS": "my_nuclei"}

    def run(script: Path, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "ignore", str(script), *map(str, arguments)]
        environment = {**os.environ, **outside, **variables}
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


def test_a_search_trains_what_is_registered_outside_and_prediction_writes_its_format(
    run, tiny_overrides, registered, tmp_path
):
    tiny = [*tiny_overrides, "SOLVER.MAX_ITER", "1", "SOLVER.WARMUP_ITERS", "0"]
    searched = run(
        REPOSITORY / "tools/search.py", "--config-file", "my_nuclei.yaml", "--output-dir", "search",
        "--grid", "MODEL.MY_NETWORK.WIDTH=4", "--metric", "count/nuclei", *tiny,
    )  # fmt: skip
    assert searched.returncode == 0, searched.stderr
    assert pd.read_csv(tmp_path / "search/search.csv")["state"].tolist() == ["done"]
    (weights,) = (tmp_path / "search").glob("*/model_final.pth")

    predicted = run(
        REPOSITORY / "tools/predict.py", "--input", registered / "synthetic/images/00000.png",
        "--output", "results", "--save", "label,npz", "--config-file", "my_nuclei.yaml",
        *tiny, "MODEL.MY_NETWORK.WIDTH", "4", "MODEL.WEIGHTS", weights,
    )  # fmt: skip
    assert predicted.returncode == 0, predicted.stderr
    labels = np.load(tmp_path / "results/00000.npz")["labels"]
    assert labels.shape == read_image(registered / "synthetic/images/00000.png").shape[:2]


def test_a_trainer_of_ones_own_is_trained_with(run, tiny_overrides, tmp_path):
    trained = run(
        tmp_path / "my_train.py", "--config-file", "my_nuclei.yaml", *tiny_overrides,
        "SOLVER.MAX_ITER", "2",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert "my_rate" in (tmp_path / "output/metrics.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("nowhere", "No module named 'nowhere'); PYTHONPATH must hold its folder"),
        ("nowhere.mine", "No module named 'nowhere'); PYTHONPATH must hold its folder"),
        ("faulty", "No module named 'elsewhere'); correct it, or install what it imports"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(run, tmp_path, module, why):
    (tmp_path / "faulty.py").write_text("import elsewhere")
    failed = run(Path("-c"), "import nucdet", NUCDET_EXTENSIONS=module)
    assert failed.returncode == 1
    assert failed.stderr.rstrip().endswith(
        f"NUCDET_EXTENSIONS names {module}, which cannot be imported ({why}"
    )


def test_a_config_of_a_module_that_is_not_named_says_so(run):
    failed = run(
        REPOSITORY / "tools/train_net.py", "--config-file", "my_nuclei.yaml", NUCDET_EXTENSIONS=""
    )
    assert failed.returncode == 2
    assert "MODEL.MY_NETWORK (for one of your own, NUCDET_EXTENSIONS must name" in failed.stderr
