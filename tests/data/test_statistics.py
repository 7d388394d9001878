"""Statistics of three images whose numbers are known by hand."""

import json

import numpy as np
import pytest

from nucdet.data.statistics import (
    anchor_fit,
    read_statistics,
    suggest_anchors,
    suggest_detections,
)
from nucdet.errors import InputError


@pytest.fixture
def coco_file(tmp_path):
    images = [
        {"id": 1, "file_name": "a.png", "height": 100, "width": 200, "kind": "bright_field"},
        {"id": 2, "file_name": "b.png", "height": 100, "width": 200, "kind": "bright_field"},
        {"id": 3, "file_name": "c.png", "height": 50, "width": 50},
    ]
    boxes = [(1, 10, 20, 0), (1, 10, 10, 0), (3, 4, 4, 0), (3, 40, 40, 1), (3, 0, 4, 0)]
    annotations = [
        {"id": k, "image_id": i, "bbox": [0, 0, w, h], "area": w * h // 2, "iscrowd": crowd}
        for k, (i, w, h, crowd) in enumerate(boxes, 1)
    ]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def test_counts_and_sizes(coco_file):
    statistics = read_statistics(coco_file)
    assert statistics.image_sizes == {(100, 200): 2, (50, 50): 1}
    assert statistics.kinds == {"bright_field": 2, "unknown": 1}
    assert statistics.per_image.tolist() == [2, 0, 2]
    assert statistics.areas.tolist() == [100, 50, 8, 0]
    assert statistics.box_sizes.tolist() == [[10, 20], [10, 10], [4, 4]]
    assert statistics.diameters[0] == pytest.approx(11.2838, abs=1e-3)


def test_boxes_are_scaled_to_the_input_size(coco_file):
    statistics = read_statistics(coco_file, input_size=200)
    assert statistics.box_sizes.tolist() == [[20, 40], [20, 20], [16, 16]]
    assert statistics.areas.tolist() == [100, 50, 8, 0]


def test_anchor_fit_by_hand():
    fit = anchor_fit(np.array([[16.0, 16.0], [8.0, 16.0], [1000.0, 1000.0]]), base=16)
    assert fit[0] == pytest.approx(1)
    # best for 8x16: the anchor of size 16 and ratio 2, 11.3x22.6, covers it: 128 / 256
    assert fit[1] == pytest.approx(0.5)
    assert fit[2] == pytest.approx(256**2 / 1000**2)


def test_suggested_anchors_follow_the_boxes():
    sizes = np.repeat(np.geomspace(16, 128, 20), 2).reshape(-1, 2)
    anchors, fits = suggest_anchors(sizes)
    # 8 to 128 and 16 to 256 both hold all boxes: the coarser one
    assert anchors == [16, 32, 64, 128, 256]
    assert fits[16] == pytest.approx(fits[8], abs=0.01) and fits[64] < fits[16]


@pytest.mark.parametrize(
    ("most", "cap"), [(0, 100), (83, 100), (84, 200), (375, 500), (2000, 2400)]
)
def test_suggested_detections(most, cap):
    assert suggest_detections(np.array([1, most])) == cap


def test_a_missing_and_a_cut_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file"):
        read_statistics(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"images": [')
    with pytest.raises(InputError, match=r"cut\.json: not JSON .*may be cut off"):
        read_statistics(tmp_path / "cut.json")


@pytest.mark.parametrize("text", ["{", "[]", '{"images": []}', '{"images": [{"id": 1}]}', "3"])
def test_what_is_no_coco_json(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad\.json"):
        read_statistics(path)
