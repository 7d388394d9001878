"""What several rooms' tests share: one CPU thread a process, and a drawn data set."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

# before torch is imported: small tensors are slower on several threads, and processes run beside
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from nucdet.structures import CroppedMasks

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


@pytest.fixture
def load_benchmark(monkeypatch) -> Callable[[str], ModuleType]:
    """A function that imports a script of benchmarks/ by its name, and what lies beside it."""

    def load(name: str) -> ModuleType:
        folder = REPOSITORY / "benchmarks"
        monkeypatch.syspath_prepend(str(folder))  # as for a script
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def contents():
    """A function that reads all files of a folder: bytes by path."""

    def read(folder: Path) -> dict[str, bytes]:
        files = (f for f in folder.rglob("*") if f.is_file())
        return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files}

    return read


@pytest.fixture(scope="session")
def drawn_root(tmp_path_factory) -> Path:
    """A root with the data set ``synthetic``: 12 images of 64 × 64, 8 train and 4 val."""
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


# Small data sets whose nuclei are rows of pixels, so that areas and IoU are counted by eye
SIZE = (4, 40)


def masks_of(*spans: tuple[int, int, int], size: tuple[int, int] = SIZE) -> CroppedMasks:
    """Masks of one pixel row each: (row, first column, column after the last)."""
    dense = np.zeros((len(spans), *size), bool)
    for mask, (row, start, stop) in zip(dense, spans, strict=True):
        mask[row, start:stop] = True
    return CroppedMasks.from_dense(dense)


def output_of(masks: CroppedMasks, scores=None, classes=None) -> dict:
    """A model's output for one image."""
    instances = Instances(masks.image_size)
    instances.pred_masks = masks
    instances.pred_boxes = Boxes(torch.from_numpy(masks.boxes))
    instances.scores = torch.as_tensor(np.ones(len(masks)) if scores is None else scores)
    instances.pred_classes = torch.as_tensor(classes or [0] * len(masks))
    return {"instances": instances}


@pytest.fixture
def spans():
    """Spans to masks, as a fixture since test folders are no packages."""
    return masks_of


@pytest.fixture
def as_output():
    return output_of


@pytest.fixture
def make_truth(tmp_path):
    """Write a COCO JSON with images 1, 2, … of the given masks and register it as ``toy_val``."""

    def make(*images: CroppedMasks, kinds=(), categories=("nucleus",), classes=None):
        content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": i, "name": name} for i, name in enumerate(categories, 1)],
        }
        for image_id, masks in enumerate(images, 1):
            height, width = masks.image_size
            entry = {"id": image_id, "file_name": f"images/img{image_id}.png"}
            entry |= {"height": height, "width": width}
            if kinds:
                entry["kind"] = kinds[image_id - 1]
            content["images"].append(entry)
            for index, (rle, box) in enumerate(
                zip(masks.to_coco_rle(), masks.boxes.tolist(), strict=True)
            ):
                annotation = {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": 1 + (classes[image_id - 1][index] if classes else 0),
                    "segmentation": rle,
                    "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    "area": int(masks.areas[index]),
                    "iscrowd": 0,
                }
                content["annotations"].append(annotation)
        path = tmp_path / "instances_val.json"
        path.write_text(json.dumps(content))
        MetadataCatalog.get("toy_val").set(json_file=str(path), thing_classes=list(categories))
        return path

    DatasetCatalog.register("toy_val", list)
    yield make
    DatasetCatalog.remove("toy_val")
    MetadataCatalog.remove("toy_val")


@pytest.fixture
def inputs():
    """The data loader's dict of image 1, 2, …"""
    return lambda *ids: [{"image_id": i, "file_name": f"/data/images/img{i}.png"} for i in ids]
