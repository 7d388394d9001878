"""Segmenter: the same road as evaluation, odd images, tiles, diameters, mistakes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from detectron2.structures import Boxes, Instances
from scipy import ndimage

import nucdet
from nucdet.data.io.reading import read_image
from nucdet.data.io.windows import ImageWindows
from nucdet.data.mapper import NucleusDatasetMapper
from nucdet.errors import InputError
from nucdet.modeling import model_zoo
from nucdet.modeling.mask_rcnn.augmented_inference import AugmentedRCNN
from nucdet.postprocessing.overlap import OverlapElimination
from nucdet.predict import Segmenter, configure, planning
from nucdet.predict.files import find_inputs
from nucdet.predict.job import Job
from nucdet.predict.network import View, _batches, _capacity
from nucdet.predict.options import PredictOptions
from nucdet.predict.run import predict_images
from nucdet.structures import CroppedMasks

CONFIG = "configs/DSB2018/mask_rcnn_lite0_FPN.yaml"


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
            yield View(found)


@pytest.fixture(scope="module")
def weights(repository, tmp_path_factory):
    """Random weights that find something, with the thresholds of the segmenter below."""
    from detectron2.modeling import build_model

    from nucdet.config import load_config

    cfg = load_config(repository / CONFIG, ["MODEL.DEVICE", "cpu"])
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save({"model": build_model(cfg).state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def overrides():
    overrides = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "INPUT.MIN_SIZE_TEST", "96"]
    overrides += ["TEST.DETECTIONS_PER_IMAGE", "40", "MODEL.RPN.POST_NMS_TOPK_TEST", "60"]
    # random masks are near 0.5; the scores of Threshold, below, say nothing
    overrides += ["MODEL.ROI_MASK_HEAD.MASK_THRESH", "0.5"]
    overrides += ["TEST.OVERLAP_ELIMINATION.MIN_RELATIVE_SCORE", "0.0"]
    return overrides


@pytest.fixture(scope="module")
def segmenter(repository, weights, overrides):
    return Segmenter(repository / CONFIG, weights, overrides, "cpu", precision="float32")


@pytest.fixture
def thresholding(segmenter, monkeypatch):
    """The segmenter with :class:`Threshold` for a network, and small tiles."""
    network = Threshold()
    monkeypatch.setattr(segmenter._finder, "network", network)
    for name, value in (("WHOLE_SIDE", 150), ("TILE_SIDE", 120), ("TILE_OVERLAP", 40)):
        monkeypatch.setattr(planning, name, value)
    return segmenter


def dots(size: tuple[int, int], spacing: int, radius: float, dtype=np.uint8, value=255):
    y, x = np.mgrid[: size[0], : size[1]]
    inside = (y % spacing - spacing / 2) ** 2 + (x % spacing - spacing / 2) ** 2 <= radius**2
    return np.where(inside, value, 0).astype(dtype)


def test_package_offers_it():
    assert nucdet.Segmenter is Segmenter
    with pytest.raises(AttributeError, match="Segmentor"):
        nucdet.Segmentor  # noqa: B018


def test_predicts_what_evaluation_sees(segmenter, drawn_root):
    path = next((drawn_root / "synthetic").rglob("*.png"))
    image = read_image(path)
    record = {"file_name": str(path), "height": image.shape[0], "width": image.shape[1]}
    inputs = NucleusDatasetMapper(segmenter.cfg, augment=False)({**record, "annotations": []})
    with torch.no_grad():
        output = segmenter._finder.network.model([inputs])[0]["instances"]
    expected = OverlapElimination(segmenter.cfg)(output)
    predicted = segmenter.predict(image)
    assert len(expected) > 5
    np.testing.assert_array_equal(predicted.label_map(), expected.pred_masks.to_label_map())
    torch.testing.assert_close(predicted.scores, expected.scores)
    from_file = segmenter.predict_file(path)
    np.testing.assert_array_equal(from_file.label_map(), predicted.label_map())


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((40, 30, 3), np.uint16),
        np.linspace(0, 1, 5000, dtype=np.float32)[None],
        np.ones((30, 40, 4), np.uint8) * 200,
        np.eye(30, dtype=bool)[..., None],
        np.full((9, 12), np.nan),
    ],
    ids=["8x8", "zero", "1x5000", "rgba", "bool", "nan"],
)
def test_odd_images(segmenter, image):
    predicted = segmenter.predict(image)
    assert predicted.label_map().shape == image.shape[:2]
    assert len(predicted.table()) == len(predicted)


def test_batch_is_one_by_one(segmenter):
    rng = np.random.default_rng(0)
    shapes = [(30, 40), (24, 24), (30, 40), (30, 40, 3)]
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    for image, predicted in zip(images, segmenter.predict_batch(images), strict=True):
        alone = segmenter.predict(image)
        assert predicted.image_size == image.shape[:2]
        assert len(alone) == len(predicted)
        np.testing.assert_array_equal(alone.label_map(), predicted.label_map())


def test_neighbours_of_equal_size_share_a_batch():
    inputs = [{"image": torch.zeros(3, 4, width)} for width in (4, 4, 4, 6, 4)]
    assert [len(batch) for batch in _batches(inputs, pixels=32)] == [2, 1, 1, 1]
    assert [len(batch) for batch in _batches(inputs, pixels=0)] == [1] * 5


def test_bfloat16_heads_are_nearly_those_of_float32(repository, weights, segmenter):
    lowered = Segmenter(repository / CONFIG, weights, (), "cpu", precision="bfloat16")
    heads = [s._finder.network.model.roi_heads for s in (segmenter, lowered)]
    regions = torch.randn(4, 128, 14, 14, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for head, method, side in (("box_head", "forward", 7), ("mask_head", "layers", 14)):
            exact, near = (
                getattr(getattr(h, head), method)(regions[..., :side, :side]) for h in heads
            )
            assert near.dtype is torch.float32
            assert not torch.equal(near, exact)
            torch.testing.assert_close(near, exact, rtol=0.05, atol=0.02 * float(exact.abs().max()))


def test_a_mirrored_image_gives_mirrored_nuclei(repository, weights, overrides, drawn_root):
    """Only where TEST.AUG shows both."""
    augmented = [*overrides, "TEST.AUG.ENABLED", "True"]
    image = read_image(next((drawn_root / "synthetic").rglob("*.png")))
    same = []
    for opts in (overrides, augmented):
        segmenter = Segmenter(repository / CONFIG, weights, opts, "cpu", precision="float32")
        labels, mirrored = (segmenter.predict(i).label_map() for i in (image, image[:, ::-1]))
        assert labels.max() > 5
        same.append(np.mean((labels > 0) == (mirrored[:, ::-1] > 0)))
    assert same[0] < 0.99 < same[1]


def test_large_images_have_larger_limits(thresholding, monkeypatch):
    """For images of up to 2^19 pixels, as the network sees them, those of the config."""
    monkeypatch.setattr(planning, "WHOLE_SIDE", 1536)
    monkeypatch.setattr(planning, "TILE_SIDE", 1024)
    monkeypatch.setattr(planning, "TILE_OVERLAP", 128)
    network = thresholding._finder.network
    sizes = [(1024, 1536), (512, 1024), (1024, 1024), (256, 256), (512, 2048)]
    found = thresholding.predict_batch([dots(size, 64, 20) for size in sizes])
    assert [p.image_size for p in found] == sizes
    assert [len(p) for p in found] == [height * width // 64**2 for height, width in sizes]
    assert dict(zip([s for s, _ in network.shown[:4]], network.capacities[:4], strict=True)) == {
        (256, 256): 1.0,
        (512, 1024): 1.0,
        (1024, 1024): 2.0,
        (1024, 1536): 3.0,
    }
    # tiles
    assert {s[0] for s, _ in network.shown[4:]} == {512} and set(network.capacities[4:]) == {1.0}


def test_crowded_tiles_raise_every_limit(segmenter):
    model = segmenter._finder.network.model
    augmented = AugmentedRCNN.from_config(segmenter.cfg, model)
    for outer in (model, augmented):
        with _capacity(outer, 2.5):
            assert model.proposal_generator.post_nms_topk[False] == 150
            assert model.roi_heads.box_predictor.test_topk_per_image == 100
            assert augmented.max_detections == (100 if outer is augmented else 40)
        assert model.proposal_generator.post_nms_topk[False] == 60
        assert model.roi_heads.box_predictor.test_topk_per_image == augmented.max_detections == 40


def test_tiled_is_whole(thresholding, monkeypatch):
    image = dots((400, 333), 26, 9)
    tiled = thresholding.predict(image)
    assert len(thresholding._finder.network.shown) >= 9
    assert max(max(size) for size, _ in thresholding._finder.network.shown) <= 120 + 64
    monkeypatch.setattr(planning, "WHOLE_SIDE", 1000)
    whole = thresholding.predict(image)
    np.testing.assert_array_equal(tiled.label_map() > 0, whole.label_map() > 0)
    assert len(tiled) == len(whole) == ndimage.label(image)[1]
    assert sorted(tiled.pred_masks.areas) == sorted(whole.pred_masks.areas)


@pytest.mark.parametrize("diameter", [31.0, 18.0, 55.5])
def test_tiles_start_where_the_network_starts_anew(thresholding, diameter):
    zoom, _, tiles, _ = thresholding._finder.plan(
        ImageWindows(np.zeros((700, 900), np.uint8)), diameter
    )
    assert zoom == 31 / diameter and len(tiles) >= 12
    for start in {t.y0 for t in tiles} | {t.x0 for t in tiles}:
        cells = start * zoom / 64  # of its coarsest grid
        assert abs(cells - round(cells)) * 64 <= zoom / 2 + 1e-6  # half a pixel of the image


def test_tiles_share_one_scale(thresholding):
    # dim nuclei on the left, bright ones on the right: each tile for itself would show both
    image = dots((200, 400), 25, 8, np.uint16, 60_000)
    image[:, :200] //= 5
    bright = thresholding.predict(image)
    assert (bright.label_map()[:, :190] == 0).all()
    assert bright.label_map()[:, 210:].any()


def test_a_large_tiff_is_read_by_windows(thresholding, tmp_path, monkeypatch):
    monkeypatch.setattr("nucdet.data.io.windows.WHOLE_PIXELS", 1000)
    image = dots((400, 333), 26, 9)
    tifffile.imwrite(tmp_path / "large.tif", image, tile=(64, 64), compression="zlib")
    steps = []
    predicted = thresholding.predict_file(
        tmp_path / "large.tif", progress=lambda done, total: steps.append((done, total))
    )
    np.testing.assert_array_equal(predicted.label_map(), thresholding.predict(image).label_map())
    assert steps == [(i + 1, len(steps)) for i in range(len(steps))] and len(steps) >= 9


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux")
def test_memory_does_not_grow_with_the_image(segmenter, monkeypatch, tmp_path):
    # 144 MB of pixels, 432 as RGB, 576 as a label map of 32 bits
    patch = dots((240, 240), 240, 12)
    tiles = {"tile": (512, 512), "compression": "zlib"}
    tifffile.imwrite(tmp_path / "large.tif", np.tile(patch, (50, 50)), **tiles)
    monkeypatch.setattr(segmenter._finder, "network", Threshold())
    files = tuple(find_inputs([str(tmp_path / "large.tif")], tmp_path / "out"))
    (tmp_path / "out").mkdir()
    before = memory()["VmRSS"]
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    predict_images(Job(PredictOptions(tmp_path / "out"), files), lambda: segmenter)
    assert memory()["VmHWM"] - before < 400

    labels = tifffile.imread(tmp_path / "out/large_label.tif")
    assert labels.shape == (12_000, 12_000)
    areas = np.bincount(labels.ravel())[1:]
    assert areas.tolist() == [np.count_nonzero(patch)] * 2500
    assert len(pd.read_csv(tmp_path / "out/large.csv")) == 2500


def memory() -> dict[str, float]:
    """Of this process, in MB: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = (line.split() for line in lines if line.startswith("Vm"))
    return {name.rstrip(":"): int(kilobytes) / 1000 for name, kilobytes, _ in fields}


def test_a_diameter_sets_the_zoom(thresholding):
    wanted = thresholding.cfg.TEST.NUCLEUS_DIAMETER
    predicted = thresholding.predict(dots((60, 60), 20, 5), diameter=wanted / 2)
    assert predicted.diameter == wanted / 2
    assert thresholding._finder.network.shown == [((60, 60), 2.0)]
    assert thresholding.predict(dots((60, 60), 20, 5)).diameter is None


@pytest.mark.parametrize("radius, spacing", [(3, 12), (60, 150)])
def test_auto_finds_the_diameter(thresholding, radius, spacing):
    predicted = thresholding.predict(dots((300, 300), spacing, radius), diameter="auto")
    assert predicted.diameter == pytest.approx(2 * radius, rel=0.1)
    wanted = thresholding.cfg.TEST.NUCLEUS_DIAMETER
    zooms = [zoom for _, zoom in thresholding._finder.network.shown]
    assert (
        zooms[-1] == min(planning.MOST_ZOOM, wanted / predicted.diameter)
        and max(zooms) <= planning.MOST_ZOOM
    )


def test_auto_leaves_a_common_size_and_an_empty_image_alone(thresholding):
    assert thresholding.predict(dots((120, 120), 40, 14), diameter="auto").diameter is None
    assert thresholding.predict(np.zeros((100, 100), np.uint8), diameter="auto").diameter is None


def test_fields_and_helpers(thresholding):
    image = np.stack([dots((60, 60), 30, 8)] * 3, axis=-1) // np.uint8([1, 2, 4])
    predicted = thresholding.predict(image)
    table = predicted.table()
    assert table["id"].tolist() == [1, 2, 3, 4]
    assert table["mean_intensity_g"].tolist() == [127] * 4
    assert predicted[[0]].table()["area_px"].tolist() == [predicted.pred_masks.areas[0]]
    assert predicted.to("cpu").label_map().max() == 4
    assert thresholding.class_names == ["nucleus"]


def test_planes_of_a_file_come_one_by_one(thresholding, tmp_path):
    """(T, C, Z): dots in channel 1, of one more column in each plane."""
    image = dots((60, 60), 20, 6)
    film = np.zeros((2, 2, 3, 60, 60), np.uint8)
    for number in range(6):
        film[number // 3, 1, number % 3, :, : 10 * number] = image[:, : 10 * number]
        film[number // 3, 0, number % 3] = 7 * number
    path = tmp_path / "film.ome.tif"
    metadata = {"axes": "TCZYX", "Channel": {"Name": ["GFP", "DAPI"]}}
    tifffile.imwrite(path, film, ome=True, metadata=metadata, photometric="minisblack")
    found = thresholding.predict_file(path, channel="DAPI", z="all", time="all")
    assert thresholding._finder.network.shown == []
    found = list(found)
    assert [p.place for p in found] == [(time, z) for time in range(2) for z in range(3)]
    assert [len(p) for p in found] == [0, 3, 3, 6, 6, 9]
    table = found[5].table()
    assert set(table["time"]) == {1} and set(table["z"]) == {2}
    assert table["mean_intensity_GFP"].tolist() == [35] * 9
    alone = thresholding.predict_file(path, channel=1, z=2, time=1)
    np.testing.assert_array_equal(alone.label_map(), found[5].label_map())
    only = thresholding.predict_file(path, channel=1, z="max", time=0)
    assert only.place == (0, "max") and len(only) == 3
    # found before the first plane is asked for
    with pytest.raises(InputError, match="diameter"):
        thresholding.predict_file(path, -1, channel=1, z="all", time="all")


def test_a_channel_of_an_array(thresholding):
    image = np.zeros((60, 60, 5), np.uint8)
    image[..., 3] = dots((60, 60), 20, 6)
    assert len(thresholding.predict(image, channel=3)) == 9
    assert len(thresholding.predict(image[..., [0, 3, 1]], channel="green")) == 9
    assert len(thresholding.predict(image[..., [0, 3, 1]], channel=0)) == 0
    for several, channel in ((image, 5), (image, "green"), (image[..., :3], "DAPI")):
        with pytest.raises(InputError, match=f"no channel {channel}; its channels are 0"):
            thresholding.predict(several, channel=channel)


@pytest.mark.parametrize(
    "image, message",
    [
        (np.zeros((5, 5, 2)), r"\(5, 5, 2\).*choose a channel"),
        (np.zeros((3, 50, 50)), "move the channels"),
        (np.zeros((0, 5)), "at least one pixel"),
        (np.zeros((5, 5), complex), "complex"),
    ],
)
def test_arrays_that_are_no_images(thresholding, image, message):
    with pytest.raises(InputError, match=message):
        thresholding.predict(image)


@pytest.mark.parametrize("diameter", [0, -3, "large", np.nan])
def test_diameters_that_are_none(thresholding, diameter):
    with pytest.raises(InputError, match="diameter"):
        thresholding.predict(np.zeros((5, 5)), diameter=diameter)


def test_mistakes_are_found_before_the_network_is_built(repository, weights, monkeypatch, tmp_path):
    config = repository / CONFIG
    with pytest.raises(InputError, match="no trained weights"):
        configure(config)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        configure(config, tmp_path / "nowhere.pth")
    with pytest.raises(InputError, match="gpu"):
        configure(config, weights, device="gpu")
    monkeypatch.setattr(model_zoo, "MODEL_ZOO", tmp_path)
    with pytest.raises(InputError, match="config file and weights"):
        configure()
    with pytest.raises(InputError, match="precision"):
        Segmenter(config, weights, device="cpu", precision="half")


def test_the_default_model_is_taken_when_it_ships(repository, weights, monkeypatch, tmp_path):
    (tmp_path / "nuclei.yaml").write_text(
        f'_BASE_: "{repository / CONFIG}"\nMODEL: {{WEIGHTS: "nucdet://nuclei"}}\n'
    )
    (tmp_path / "nuclei.pth").write_bytes(weights.read_bytes())
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    (tmp_path / "nuclei.json").write_text(json.dumps({"sha256": digest}))
    monkeypatch.setattr(model_zoo, "MODEL_ZOO", tmp_path)
    assert configure().MODEL.WEIGHTS == "nucdet://nuclei"
    assert str(weights) == configure(overrides=["MODEL.WEIGHTS", str(weights)]).MODEL.WEIGHTS
