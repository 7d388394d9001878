"""Panoptic quality, AJI and outline bias of cases that are counted by eye."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nucdet.evaluation.generalisation import (
    aggregated_jaccard_index,
    matched_radii,
    panoptic_quality,
    per_image_table,
    score_everything,
    summarize_set,
)
from nucdet.evaluation.ground_truth import TrueImage
from nucdet.evaluation.matching import Intersections, match
from nucdet.structures import CroppedMasks


def both(true, pred):
    """PQ and AJI of two rows of labels."""
    found = Intersections.of_label_maps(np.array([true]), np.array([pred]))
    return panoptic_quality(found, match(found)), aggregated_jaccard_index(found)


def image(number=1):
    return TrueImage(number, f"somewhere/img{number}.png", 4, 40)


@pytest.mark.parametrize(
    ("true", "pred", "quality", "aji"),
    [
        # the same masks under other numbers
        ([1, 1, 0, 2], [7, 7, 0, 3], 1, 1),
        # neither, only nuclei, only masks
        ([0, 0], [0, 0], 1, 1),
        ([1, 1], [0, 0], 0, 0),
        ([0, 0], [1, 0], 0, 0),
        # IoU of exactly 1/2 is no match for PQ, and counts for AJI
        ([1, 1, 0], [1, 0, 0], 0, 1 / 2),
        # IoU 2/3; a nucleus of 1 missed, a mask of 2 false: 2/3 / (1 + 1/2 + 1/2), 2/(3 + 1 + 2)
        ([1, 1, 1, 0, 2, 0, 0, 0], [1, 1, 0, 0, 0, 0, 3, 3], 1 / 3, 1 / 3),
        # one mask over two nuclei of 2: both take it, (2 + 2)/(4 + 4)
        ([1, 1, 2, 2], [1, 1, 1, 1], 0, 1 / 2),
        # two masks in one nucleus: it takes the larger (3 of 5), the other (2) is false: 3/(5 + 2);
        # PQ: IoU 3/5 / (1 + 1/2)
        ([1, 1, 1, 1, 1], [1, 1, 1, 2, 2], 2 / 5, 3 / 7),
        # the best by IoU (2/3), not by shared pixels (3 of 8): the nucleus of 3 pixels takes mask 1
        ([0, 1, 1, 1, 0, 0], [0, 1, 1, 2, 2, 2], 2 / 3 / 1.5, 2 / (3 + 3)),
    ],
)
def test_panoptic_quality_and_aji(true, pred, quality, aji):
    assert both(true, pred) == pytest.approx((quality, aji))


def test_aji_prefers_the_higher_iou_to_the_larger_intersection():
    # nucleus 1 (5 pixels) shares 2 with mask 1 (2 pixels, IoU 2/5) and 3 with mask 2 (of 9 pixels,
    # IoU 3/11); it takes mask 1. Nucleus 2 (6 pixels) is mask 2's rest and takes it (IoU 6/9)
    true = [1] * 5 + [2] * 6
    pred = [1] * 2 + [2] * 9
    assert both(true, pred)[1] == pytest.approx((2 + 6) / (5 + 9))


def test_masks_of_one_set_may_overlap(spans):
    # two masks on the same nucleus: one matches, the other is false
    truth, pred = spans((0, 0, 10)), spans((0, 0, 10), (0, 0, 9))
    scores = score_everything(image(), truth, pred)
    assert scores.panoptic_quality == pytest.approx(1 / 1.5)
    assert scores.aji == pytest.approx(10 / (10 + 9))


def test_radii_of_matched_pairs_only(spans):
    truth = spans((0, 0, 9), (1, 0, 9), (2, 0, 9))
    pred = spans((1, 0, 16), (0, 0, 5), (2, 0, 2))
    found = Intersections.of_masks(truth, pred)
    expected = np.sqrt(np.array([[9, 5], [9, 16]]) / math.pi)
    np.testing.assert_allclose(matched_radii(found, match(found)), expected)


def test_summary_of_a_set(spans):
    scores = [
        # IoU 16/25 and a missed nucleus: radii 5 and 4 times √(1/π), a fifth too narrow
        score_everything(image(1), spans((0, 0, 25), (1, 0, 4)), spans((0, 0, 16))),
        # exact, with a false mask
        score_everything(image(2), spans((0, 0, 9)), spans((0, 0, 9), (1, 0, 9))),
        # nothing there, nothing found
        score_everything(image(3), spans(), spans()),
    ]
    row = summarize_set(scores)
    assert [row[n] for n in ("images", "nuclei", "masks", "found")] == [3, 3, 3, 2]
    # 16/25 lies above 0.50, 0.55, 0.60
    assert row["mAP"] == pytest.approx(100 * (0.3 / 2 + 1 / 2 + 1) / 3)
    assert row["AP50"] == pytest.approx(100 * (1 / 2 + 1 / 2 + 1) / 3)
    assert row["precision"] == pytest.approx(100 * (1 + 1 / 2 + 1) / 3)
    assert row["recall"] == pytest.approx(100 * (1 / 2 + 1 + 1) / 3)
    assert row["PQ"] == pytest.approx(100 * (0.64 / 1.5 + 1 / 1.5 + 1) / 3)
    assert row["AJI"] == pytest.approx(100 * (16 / 29 + 9 / 18 + 1) / 3)
    assert row["count error %"] == pytest.approx(100 * (1 / 2 + 1 + 0) / 3)
    assert row["count bias %"] == pytest.approx(100 * (-1 / 2 + 1 + 0) / 3)
    assert row["outline bias px"] == pytest.approx((-1 / math.sqrt(math.pi) + 0) / 2)
    assert row["outline bias %"] == pytest.approx((-20 + 0) / 2)

    table = per_image_table(scores)
    assert table["image"].tolist() == ["img1", "img2", "img3"]
    assert table["AJI"].tolist() == pytest.approx([100 * 16 / 29, 50, 100])
    assert np.isnan(table["outline bias px"][2])


def test_masks_without_a_pixel_do_not_count(spans):
    empty = CroppedMasks.from_coco_rle([{"size": [4, 40], "counts": [160]}], (4, 40))
    assert len(empty) == 1
    row = summarize_set([score_everything(image(), empty, spans())])
    assert (row["nuclei"], row["PQ"], row["AJI"]) == (0, 100, 100)
