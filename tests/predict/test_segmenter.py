"""Segmenter: the same way as evaluation, odd images, diameters, mistakes."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import tifffile
import torch

import nucdet
from nucdet.config import load_config
from nucdet.data.io.reading import read_image
from nucdet.data.mapper import NucleusDatasetMapper
from nucdet.errors import InputError
from nucdet.modeling import model_zoo
from nucdet.postprocessing.overlap import OverlapElimination
from nucdet.predict import Segmenter, configure, planning
from nucdet.predict.network import _batches
from nucdet.predict.segmenter import _class_names

CONFIG = "configs/DSB2018/mask_rcnn_lite0_FPN.yaml"


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


def test_neighbors_of_equal_size_share_a_batch():
    inputs = [{"image": torch.zeros(3, 4, width)} for width in (4, 4, 4, 6, 4)]
    assert [len(batch) for batch in _batches(inputs, pixels=32)] == [2, 1, 1, 1]
    assert [len(batch) for batch in _batches(inputs, pixels=0)] == [1] * 5


@pytest.mark.parametrize("views", ["False", "True"])
def test_batches_of_a_gpu_give_features_of_each_image(repository, weights, overrides, views):
    options = [*overrides, "TEST.AUG.ENABLED", views]
    network = Segmenter(repository / CONFIG, weights, options, "cpu")._finder.network
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    alone = [output.seen.features for output in network([(image, 1.0), (image[::-1].copy(), 1.0)])]
    network.device = torch.device("cuda")  # of the batches only: the model stays on the CPU
    both = [output.seen.features for output in network([(image, 1.0), (image[::-1].copy(), 1.0)])]
    torch.testing.assert_close(both, alone, rtol=1e-3, atol=1e-3)


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


def test_a_diameter_sets_the_zoom(thresholding, dots):
    wanted = thresholding.cfg.TEST.NUCLEUS_DIAMETER
    predicted = thresholding.predict(dots((60, 60), 20, 5), diameter=wanted / 2)
    assert predicted.diameter == wanted / 2
    assert thresholding._finder.network.shown == [((60, 60), 2.0)]
    assert thresholding.predict(dots((60, 60), 20, 5)).diameter is None


@pytest.mark.parametrize("radius, spacing", [(3, 12), (60, 150)])
def test_auto_finds_the_diameter(thresholding, radius, spacing, dots):
    predicted = thresholding.predict(dots((300, 300), spacing, radius), diameter="auto")
    assert predicted.diameter == pytest.approx(2 * radius, rel=0.1)
    wanted = thresholding.cfg.TEST.NUCLEUS_DIAMETER
    zooms = [zoom for _, zoom in thresholding._finder.network.shown]
    assert (
        zooms[-1] == min(planning.MOST_ZOOM, wanted / predicted.diameter)
        and max(zooms) <= planning.MOST_ZOOM
    )


def test_auto_leaves_a_common_size_and_an_empty_image_alone(thresholding, dots):
    assert thresholding.predict(dots((120, 120), 40, 14), diameter="auto").diameter is None
    assert thresholding.predict(np.zeros((100, 100), np.uint8), diameter="auto").diameter is None


def test_fields_and_helpers(thresholding, dots):
    image = np.stack([dots((60, 60), 30, 8)] * 3, axis=-1) // np.uint8([1, 2, 4])
    predicted = thresholding.predict(image)
    table = predicted.table()
    assert table["id"].tolist() == [1, 2, 3, 4]
    assert table["mean_intensity_g"].tolist() == [127] * 4
    assert predicted[[0]].table()["area_px"].tolist() == [predicted.pred_masks.areas[0]]
    assert predicted.to("cpu").label_map().max() == 4
    assert thresholding.class_names == ["nucleus"]


def test_planes_of_a_file_come_one_by_one(thresholding, dots, tmp_path):
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


def test_a_single_channel_to_measure(thresholding, dots):
    image = np.stack([dots((60, 60), 20, 6)] * 3, axis=-1)
    found = thresholding.predict(image)
    for wanted, name in (("green", "g"), (0, "r"), ([2], "b")):
        means = [c for c in found.table(measure_channels=wanted) if c.startswith("mean_intensity")]
        assert means == [f"mean_intensity_{name}"]


def test_a_channel_of_an_array(thresholding, dots):
    image = np.zeros((60, 60, 5), np.uint8)
    image[..., 3] = dots((60, 60), 20, 6)
    assert len(thresholding.predict(image, channel=3)) == 9
    assert len(thresholding.predict(image[..., [0, 3, 1]], channel="green")) == 9
    assert len(thresholding.predict(image[..., [0, 3, 1]], channel=0)) == 0
    # RGB with an alpha, and four stains
    assert len(thresholding.predict(image[..., [0, 3, 1, 1]], channel="green")) == 9
    assert len(thresholding.predict(image[..., [0, 1, 2, 3]], channel=3)) == 9
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


def test_nuclei_larger_than_the_image_are_a_mistake(thresholding, dots):
    image = dots((30, 60), 20, 5)
    with pytest.raises(InputError, match="121 pixels, but the image has only 30 × 60"):
        thresholding.predict(image, diameter=121)
    with pytest.raises(InputError, match="121 pixels"):
        thresholding.predict(image, diameter=np.float32(121))
    assert thresholding.predict(image, diameter=120).diameter == 120


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


def test_a_class_that_the_data_set_lacks_has_a_name(repository):
    pairs = ["MODEL.ROI_HEADS.NUM_CLASSES", "3", "DATASETS.TRAIN", "('dsb2018_train',)"]
    cfg = load_config(repository / CONFIG, pairs)
    assert _class_names(cfg) == ["nucleus", "class 1", "class 2"]


def test_nuclei_of_a_network_of_one_class_are_not_called_as_the_first_of_several(repository):
    pairs = ["DATASETS.TRAIN", "('sartorius_train',)"]
    assert _class_names(load_config(repository / "configs/DSB2018/unet_lite0.yaml", pairs)) == [
        "nucleus"
    ]
