from __future__ import annotations

import pytest

from nucdet.config import load_config
from nucdet.train.perturbed import compare_perturbed
from nucdet.train.trainer import NucleusTrainer


def test_a_trainer_of_ones_own_scores_clean_and_perturbed_images(tmp_path):
    class Mine(NucleusTrainer):
        @classmethod
        def test(cls, cfg, model, evaluators=None):
            return {"mine": {"score": 40.0 if cfg.TEST.PERTURBATION else 50.0}}

    cfg = load_config(overrides=["OUTPUT_DIR", str(tmp_path)])
    table = compare_perturbed(cfg, None, Mine.test(cfg, None), "blur:2", Mine)
    assert table.to_numpy().tolist() == [["mine/score", 50.0, 40.0, pytest.approx(-10)]]
    assert (tmp_path / "blur_2.csv").is_file()
