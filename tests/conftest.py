"""What several rooms' tests share: one CPU thread a process, and a drawn data set."""

from __future__ import annotations

import logging
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

# before torch is imported: small tensors are slower on several threads, and processes run beside
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of the checkout."""
    return REPOSITORY


@pytest.fixture
def run_tool(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a script of tools/ in this process: ``run_tool("predict.py", "--input", path)``.

    Gives its exit code, stdout and stderr.
    """
    # loggers of an earlier run write to its stdout, which is closed
    monkeypatch.setattr(logging, "raiseExceptions", False)

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        script = str(REPOSITORY / "tools" / name)
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(script, run_name="__main__")
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def drawn_root(tmp_path_factory) -> Path:
    """A root with the data set ``synthetic``: 12 pictures of 64 × 64, 8 train and 4 val."""
    from nucdet.data.conversion.synthetic import make_synthetic

    root = tmp_path_factory.mktemp("datasets")
    make_synthetic(root / "synthetic", images=12, size=64, val_fraction=1 / 3, seed=3)
    return root


@pytest.fixture
def registered(drawn_root, monkeypatch) -> Path:
    """``drawn_root``, registered in the catalog and named by DETECTRON2_DATASETS."""
    from nucdet.data.datasets import register_datasets

    monkeypatch.setenv("DETECTRON2_DATASETS", str(drawn_root))
    register_datasets()
    return drawn_root


@pytest.fixture
def tiny_overrides(tmp_path) -> list[str]:
    """KEY VALUE pairs that make any Mask R-CNN config run in a second on ``drawn_root``."""
    pairs = {
        "MODEL.WEIGHTS": "",
        "MODEL.DEVICE": "cpu",
        "DATASETS.TRAIN": "('synthetic_train',)",
        "DATASETS.TEST": "('synthetic_val',)",
        "DATALOADER.NUM_WORKERS": "0",
        "INPUT.MIN_SIZE_TRAIN": "(64,)",
        "INPUT.MIN_SIZE_TEST": "64",
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": "100",
        "MODEL.RPN.POST_NMS_TOPK_TEST": "100",
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "32",
        "TEST.DETECTIONS_PER_IMAGE": "50",
        "SOLVER.IMS_PER_BATCH": "2",
        "SOLVER.MAX_ITER": "4",
        "OUTPUT_DIR": str(tmp_path / "output"),
    }
    return [text for pair in pairs.items() for text in pair]
