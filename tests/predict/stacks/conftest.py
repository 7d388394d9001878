"""A film whose nuclei are known, and a predictor that takes what is bright for nuclei."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from detectron2.structures import Boxes, Instances
from scipy import ndimage

from nucdet.data.io.planes import open_planes
from nucdet.predict import Prediction
from nucdet.predict.formats import FORMATS
from nucdet.predict.inputs import find_inputs
from nucdet.predict.job import Job
from nucdet.predict.options import PredictOptions
from nucdet.structures import CroppedMasks

SIZE = (20, 30)
# rows, columns of the nuclei in each plane of the film, (time, z)
NUCLEI = {
    (0, 0): [np.s_[2:5, 2:5]],
    (0, 1): [np.s_[2:6, 2:6], np.s_[10:15, 20:25]],
    (1, 0): [],
    (1, 1): [np.s_[3:6, 3:7]],
}
GROUND = 10


class BrightIsNucleus:
    """Stands for Segmenter; ``seen`` are the planes that it was asked for."""

    open = staticmethod(open_planes)

    def __init__(self, stop_at: tuple[int, int] | None = None, error: type = KeyboardInterrupt):
        self.seen: list[tuple] = []
        self._stop_at, self._error = stop_at, error

    def __call__(self) -> BrightIsNucleus:
        return self

    def predict_windows(self, sources, diameter=None, progress=None):
        if any(source.place == self._stop_at for source in sources):
            raise self._error("as the test wants")
        self.seen += [source.place for source in sources]
        return [self._predict(source) for source in sources]

    def _predict(self, source):
        values = source.values(source.whole())
        bright = (values if values.ndim == 2 else values.max(axis=2)) > 50
        masks = CroppedMasks.from_label_map(ndimage.label(bright)[0])
        fields = {
            "pred_masks": masks,
            "pred_boxes": Boxes(torch.from_numpy(masks.boxes)),
            "scores": torch.full((len(masks),), 0.75),
            "pred_classes": torch.zeros(len(masks), dtype=torch.int64),
        }
        return Prediction(Instances(masks.image_size, **fields), source)


def film_pixels() -> np.ndarray:
    """(T, C, Z, Y, X): nuclei of 200 in channel 1; channel 0 is 20 + 10 z + 100 t all over."""
    pixels = np.full((2, 2, 2, *SIZE), GROUND, np.uint8)
    for (time, z), boxes in NUCLEI.items():
        pixels[time, 0, z] = 20 + 10 * z + 100 * time
        for box in boxes:
            pixels[time, 1, z][box] = 200
    return pixels


def write_film(path, pixels, axes="TCZYX", **more):
    metadata = {"axes": axes, "Channel": {"Name": ["GFP", "DAPI"]}}
    metadata |= {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, **more}
    tifffile.imwrite(path, pixels, ome=True, metadata=metadata, photometric="minisblack")


@pytest.fixture
def job(tmp_path):
    """A job on film.ome.tif, all planes of channel DAPI, all formats; fields may be changed."""
    images = tmp_path / "images"
    images.mkdir()
    write_film(images / "film.ome.tif", film_pixels())

    def make(output="out", **changes):
        out = tmp_path / output
        out.mkdir(exist_ok=True)
        options = {"save": tuple(FORMATS), "channel": "DAPI", "z": "all", "time": "all"}
        files = tuple(find_inputs([str(images)], out))
        return Job(PredictOptions(out, **options | changes), files, "s")

    return make


@pytest.fixture
def film() -> SimpleNamespace:
    """``size`` and ``nuclei`` by (time, z) of the film, its ``pixels``, how to ``write`` some."""
    return SimpleNamespace(size=SIZE, nuclei=NUCLEI, pixels=film_pixels(), write=write_film)


@pytest.fixture
def bright_is_nucleus() -> type[BrightIsNucleus]:
    return BrightIsNucleus
