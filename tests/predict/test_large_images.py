"""Segmenter on large images: their limits, tiles, windows of files and memory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

from nucdet.data.io.windows import ImageWindows
from nucdet.modeling.mask_rcnn.augmented_inference import AugmentedRCNN
from nucdet.predict import planning
from nucdet.predict.inputs import find_inputs
from nucdet.predict.job import Job
from nucdet.predict.network import _capacity
from nucdet.predict.options import PredictOptions
from nucdet.predict.run import predict_images


def test_large_images_have_larger_limits(thresholding, monkeypatch, dots):
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


def test_tiled_is_whole(thresholding, monkeypatch, dots):
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


def test_tiles_share_one_scale(thresholding, dots):
    # dim nuclei on the left, bright ones on the right: each tile for itself would show both
    image = dots((200, 400), 25, 8, np.uint16, 60_000)
    image[:, :200] //= 5
    bright = thresholding.predict(image)
    assert (bright.label_map()[:, :190] == 0).all()
    assert bright.label_map()[:, 210:].any()


def test_a_large_tiff_is_read_by_windows(thresholding, tmp_path, monkeypatch, dots):
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
def test_memory_does_not_grow_with_the_image(segmenter, network, monkeypatch, tmp_path, dots):
    # 202 MB of pixels, 605 as RGB, 806 as a label map of 32 bits
    patch = dots((240, 240), 240, 12)
    tiles = {"tile": (512, 512), "compression": "zlib"}
    tifffile.imwrite(tmp_path / "large.tif", np.tile(patch, (70, 50)), **tiles)
    monkeypatch.setattr(segmenter._finder, "network", network)
    tifffile.imwrite(tmp_path / "small.tif", patch)

    def run(name):
        output = tmp_path / f"{name}_out"
        output.mkdir()
        files = tuple(find_inputs([str(tmp_path / f"{name}.tif")], output))
        predict_images(Job(PredictOptions(output), files), lambda: segmenter)

    run("small")  # so that what is imported when it is first needed does not count
    before = memory()["VmRSS"]
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    run("large")
    assert memory()["VmHWM"] - before < 450

    labels = tifffile.imread(tmp_path / "large_out/large_label.tif")
    assert labels.shape == (16_800, 12_000)
    areas = np.bincount(labels.ravel())[1:]
    assert areas.tolist() == [np.count_nonzero(patch)] * 3500
    assert len(pd.read_csv(tmp_path / "large_out/large.csv")) == 3500


def memory() -> dict[str, float]:
    """Of this process, in MB: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = (line.split() for line in lines if line.startswith("Vm"))
    return {name.rstrip(":"): int(kilobytes) / 1000 for name, kilobytes, _ in fields}
