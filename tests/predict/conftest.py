"""Stand-ins for networks, and what they are shown: files for runs, images for a Segmenter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image
from scipy import ndimage

from nucdet.data.io.channel_files import open_files
from nucdet.predict import Prediction, Segmenter, planning
from nucdet.predict.formats import FORMATS
from nucdet.predict.inputs import find_inputs
from nucdet.predict.job import Job
from nucdet.predict.network import NetworkOutput
from nucdet.predict.options import PredictOptions
from nucdet.structures import CroppedMasks

CONFIG = "configs/DSB2018/mask_rcnn_lite0_FPN.yaml"


NAMES = {(30, 40): "a.png", (20, 20): "b.png", (20, 30): "c.tif", (8, 8): "d.png"}


class Threshold:
    """Stands for a network: bright connected pieces of what it is shown, which it records."""

    familiarity = None

    def __init__(self, usual_zoom: float = 1.0):
        self.usual_zoom = usual_zoom
        self.shown: list[tuple[tuple[int, int], float]] = []
        self.capacities: list[float] = []

    def zoom(self, height: int, width: int) -> float:
        return self.usual_zoom

    def __call__(self, images, capacity=1.0):
        for image, zoom, *_ in images:
            self.shown.append((image.shape[:2], zoom))
            self.capacities.append(capacity)
            masks = CroppedMasks.from_label_map(ndimage.label(image[..., 0] > 127)[0])
            found = Instances(
                image.shape[:2],
                pred_masks=masks,
                pred_boxes=Boxes(torch.from_numpy(masks.boxes)),
                scores=torch.as_tensor(1 / (1 + masks.areas), dtype=torch.float32),
                pred_classes=torch.zeros(len(masks), dtype=torch.int64),
            )
            yield NetworkOutput(found)


@pytest.fixture(scope="session")
def weights(repository, tmp_path_factory):
    """Random weights that find something, with the thresholds of the segmenter below."""
    from detectron2.modeling import build_model

    from nucdet.config import load_config

    cfg = load_config(repository / CONFIG, ["MODEL.DEVICE", "cpu"])
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save({"model": build_model(cfg).state_dict()}, path)
    return path


@pytest.fixture(scope="session")
def overrides():
    overrides = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "INPUT.MIN_SIZE_TEST", "96"]
    overrides += ["TEST.DETECTIONS_PER_IMAGE", "40", "MODEL.RPN.POST_NMS_TOPK_TEST", "60"]
    # random masks are near 0.5; the scores of Threshold, below, say nothing
    overrides += ["MODEL.ROI_MASK_HEAD.MASK_THRESH", "0.5"]
    overrides += ["TEST.OVERLAP_ELIMINATION.MIN_RELATIVE_SCORE", "0.0"]
    return overrides


@pytest.fixture(scope="session")
def segmenter(repository, weights, overrides):
    return Segmenter(repository / CONFIG, weights, overrides, "cpu", precision="float32")


@pytest.fixture
def network():
    """A network's stand-in that remembers what it was shown."""
    return Threshold()


@pytest.fixture
def thresholding(segmenter, network, monkeypatch):
    """The segmenter with :class:`Threshold` for a network, and small tiles."""
    monkeypatch.setattr(segmenter._finder, "network", network)
    for name, value in (("WHOLE_SIDE", 150), ("TILE_SIDE", 120), ("TILE_OVERLAP", 40)):
        monkeypatch.setattr(planning, name, value)
    return segmenter


@pytest.fixture(scope="session")
def dots():
    """A function that draws an image of discs on a grid."""

    def draw(size: tuple[int, int], spacing: int, radius: float, dtype=np.uint8, value=255):
        y, x = np.mgrid[: size[0], : size[1]]
        inside = (y % spacing - spacing / 2) ** 2 + (x % spacing - spacing / 2) ** 2 <= radius**2
        return np.where(inside, value, 0).astype(dtype)

    return draw


class BrightIsNucleus:
    """Stands for Segmenter; ``seen`` are the names it was asked for, each time together."""

    names = NAMES  # of images by their size
    too_much: Exception = MemoryError()  # raised for more images than fit
    open = staticmethod(open_files)

    def __init__(
        self, interrupt_at: str | None = None, most: int = 8, unfamiliar: tuple[str, ...] = ()
    ):
        self.seen: list[list[str]] = []
        self._unfamiliar = unfamiliar
        self._interrupt_at, self._most = interrupt_at, most

    def __call__(self) -> BrightIsNucleus:
        return self

    def predict_windows(self, sources, diameter=None, progress=None):
        self.seen.append([NAMES.get(source.size, "") for source in sources])
        if self._interrupt_at in self.seen[-1]:
            raise KeyboardInterrupt
        if len(sources) > self._most:
            raise self.too_much
        return [self._predict(source) for source in sources]

    def _predict(self, source):
        bright = source.read(source.whole())[..., 0] > 127
        masks = CroppedMasks.from_label_map(ndimage.label(bright)[0])
        fields = {
            "pred_masks": masks,
            "pred_boxes": Boxes(torch.from_numpy(masks.boxes)),
            "scores": torch.linspace(1, 0.5, len(masks)),
            "pred_classes": torch.zeros(len(masks), dtype=torch.int64),
        }
        how = 0.5 if NAMES.get(source.size) in self._unfamiliar else 2.0
        return Prediction(Instances(masks.image_size, **fields), source, familiarity=how)


@pytest.fixture
def images(tmp_path) -> Path:
    """a.png: 3 nuclei; b.png: none; c.tif: 16 bits, 1 nucleus; sub/d.png: 2, on 8 × 8 pixels."""
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    a = np.zeros((30, 40, 3), np.uint8)
    a[2:8, 3:9] = a[10:15, 10:30] = a[25:, 35:] = 200
    Image.fromarray(a).save(folder / "a.png")
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(folder / "b.png")
    c = np.full((20, 30), 300, np.uint16)
    c[5:10, 5:15] = 3000
    tifffile.imwrite(folder / "c.tif", c)
    d = np.zeros((8, 8), np.uint8)
    d[1:3, 1:3] = d[5:7, 5:8] = 255
    Image.fromarray(d).save(folder / "sub" / "d.png")
    return folder


@pytest.fixture
def job(images, tmp_path):
    """A job on the images with all formats; fields may be changed."""

    def make(output="out", **changes):
        out = tmp_path / output
        out.mkdir(exist_ok=True)
        files = changes.pop("files", None) or tuple(find_inputs([str(images)], out))
        settings = changes.pop("settings", "s")
        options = PredictOptions(out, **{"save": tuple(FORMATS)} | changes)
        return Job(options, files, settings)

    return make


@pytest.fixture
def bright_is_nucleus():
    """The class of a network's stand-in."""
    return BrightIsNucleus
