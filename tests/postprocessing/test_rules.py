"""The one list of rules, on masks of a whole image and of its blocks."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from hypothesis import given, settings
from hypothesis import strategies as st

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.postprocessing import OverlapElimination, blocks
from nucdet.postprocessing import rules as rules_module
from nucdet.postprocessing.overlap import MaskCandidates
from nucdet.postprocessing.rules import (
    RULES,
    OverlapSettings,
    apply_rules,
    cut,
    drop_relatively_small,
    drop_relatively_unsure,
    drop_small,
    overlap_rule,
)
from nucdet.structures import CroppedMasks


@given(seed=st.integers(0, 10_000), block=st.integers(10, 60))
@settings(deadline=None, max_examples=30)
def test_the_size_of_the_blocks_does_not_change_the_result(seed, block):
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[:90, :110]
    dense = np.stack(
        [
            (y - rng.integers(90)) ** 2 + (x - rng.integers(110)) ** 2 <= rng.uniform(1, 12) ** 2
            for _ in range(40)
        ]
    )
    dense[0, 10:40, 10:40] = True  # with holes for others to lie in
    dense[0, 15:35, 15:35] = False
    masks = CroppedMasks.from_dense(dense[dense.any(axis=(1, 2))])
    scores = rng.permutation(len(masks)) / len(masks)
    found = Instances((90, 110), pred_masks=masks, scores=torch.from_numpy(scores))
    found.pred_classes = torch.zeros(len(masks), dtype=torch.int64)
    rules = OverlapSettings(
        priority=str(rng.choice(["area", "score"])),
        min_area=int(rng.integers(20)),
        keep_largest_piece=bool(rng.integers(2)),
        fill_holes=bool(rng.integers(2)),
        min_relative_area=float(rng.choice([0, 0.3])),
        min_area_limit=float(rng.choice([0, 0.1])),
        class_score_thresholds=(float(rng.choice([0, 0.5])),),
        min_relative_score=float(rng.choice([0, 0.8])),
        outline_offset=float(rng.choice([-1, 0, 1.5])),
    )
    eliminate = OverlapElimination(enabled=True, settings=rules)
    whole = eliminate(found)
    with patch.object(blocks, "BLOCK", block):
        parts = eliminate(found)
    assert torch.equal(parts.scores, whole.scores)
    np.testing.assert_array_equal(parts.pred_masks.to_label_map(), whole.pred_masks.to_label_map())
    torch.testing.assert_close(parts.pred_boxes.tensor, whole.pred_boxes.tensor)


def test_the_rules_have_one_order():
    order = [drop_relatively_unsure, drop_small, cut, drop_small, drop_relatively_small]
    assert [rule for rule in RULES if rule in order] == order


def test_a_rule_can_be_left_out(spans):
    masks = MaskCandidates.of_masks(spans((0, 0, 4), (0, 2, 8), (0, 3, 4)))
    without = [rule for rule in RULES if rule is not cut]
    assert apply_rules(masks, OverlapSettings(), without).areas.tolist() == [4, 6, 1]
    assert apply_rules(masks, OverlapSettings()).areas.tolist() == [2, 6]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_area", -1),
        ("min_area", 2.5),
        ("min_area_limit", float("inf")),
        ("min_relative_area", float("nan")),
        ("min_relative_score", -0.5),
        ("class_score_thresholds", (0.5, 2.0)),
        ("class_score_thresholds", (float("nan"),)),
        ("class_min_areas", (-5,)),
    ],
)
def test_numbers_have_ranges(name, value):
    key = f"TEST.OVERLAP_ELIMINATION.{name.upper()}"
    with pytest.raises(InputError, match=f"{key} is .*; expected "):
        OverlapSettings(**{name: value})


def test_a_config_out_of_range_does_not_load():
    with pytest.raises(InputError, match=r"MIN_AREA is -1; expected a number of pixels, 0 or more"):
        load_config(overrides=["TEST.OVERLAP_ELIMINATION.MIN_AREA", "-1"])


def test_a_rule_from_outside_drops_masks_before_they_take_pixels_from_others(monkeypatch, rows):
    monkeypatch.setattr(rules_module, "_OTHERS", [])

    @overlap_rule
    def drop_long(masks, cfg):
        x0, _, x1, _ = masks.masks.boxes.T
        return masks.keep(x1 - x0 <= cfg.TEST.OVERLAP_ELIMINATION.MIN_AREA)

    found = Instances((1, 12), pred_masks=rows((0, 4), (2, 8)), scores=torch.tensor([0.9, 0.8]))
    cfg = load_config(overrides=["TEST.OVERLAP_ELIMINATION.MIN_AREA", "4"])
    assert OverlapElimination(cfg)(found).pred_masks.areas.tolist() == [4]
