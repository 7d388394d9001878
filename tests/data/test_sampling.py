from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
import torch
from detectron2.data import DatasetCatalog

from nucdet.config import load_config
from nucdet.data.sampling import build_sampler, crop_weights, kind_weights
from nucdet.errors import InputError


@pytest.fixture
def records():
    """Six small images of one kind, a small and a large one of another."""
    small = [{"height": 256, "width": 256, "kind": "fluorescence"} for _ in range(6)]
    stained = {"height": 256, "width": 256, "kind": "stained_light"}
    return [*small, stained, {**stained, "height": 768, "width": 1536}]


def _cfg(*overrides):
    return load_config(
        overrides=[
            "INPUT.RESIZE_RULE", "enlarge", "INPUT.MIN_SIZE_TEST", "512",
            "INPUT.CROP.ENABLED", "True", "INPUT.CROP.TYPE", "absolute",
            "INPUT.CROP.SIZE", "[384, 384]",
            *overrides,
        ]
    )  # fmt: skip


def test_kinds_weigh_by_a_power_of_their_number(records):
    weights = kind_weights(records, 1.0)
    assert weights[:6].sum() == pytest.approx(weights[6:].sum())
    assert (kind_weights(records, 0.5)[-1] / kind_weights(records, 0.5)[0]) == pytest.approx(3**0.5)


def test_images_weigh_by_the_crops_that_they_fill(records):
    weights = crop_weights(_cfg(), records, 1.0)
    assert weights[0] == pytest.approx((512 / 384) ** 2)  # enlarged
    assert weights[-1] == pytest.approx(768 * 1536 / 384**2)
    tiny = [{"height": 10, "width": 10, "kind": ""}]
    assert crop_weights(_cfg("INPUT.MIN_SIZE_TEST", "0"), tiny, 1.0).tolist() == [1.0]


def test_where_the_diameter_decides_in_training_images_weigh_as_if_enlarged(records):
    by_diameter = crop_weights(_cfg("INPUT.RESIZE_RULE", "diameter"), records, 1.0)
    assert by_diameter.tolist() == crop_weights(_cfg(), records, 1.0).tolist()


def test_the_sampler_draws_as_often_as_the_weights_say(records):
    torch.manual_seed(0)
    sampler = build_sampler(_cfg("DATALOADER.BALANCE_KINDS", "1.0"), records)
    drawn = Counter(islice(sampler, 8000))
    stained = sum(count for index, count in drawn.items() if index >= 6)
    assert stained / 8000 == pytest.approx(0.5, abs=0.02)


def test_without_a_key_the_sampler_is_detectron2s(records):
    assert build_sampler(_cfg(), records) is None


def test_two_samplers_at_once_are_a_mistake(records):
    cfg = _cfg(
        "DATALOADER.BALANCE_CROPS", "0.5",
        "DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler",
    )  # fmt: skip
    with pytest.raises(InputError, match=r"SAMPLER_TRAIN is 'RepeatFactor"):
        build_sampler(cfg, records)


def test_records_of_the_catalog_name_their_kind(registered):
    kinds = {record["kind"] for record in DatasetCatalog.get("synthetic_train")}
    assert kinds and "" not in kinds
