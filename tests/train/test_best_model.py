from __future__ import annotations

import math
from types import SimpleNamespace

from nucdet.train.hooks import BestModel


def test_a_damaged_best_model_counts_as_none(tmp_path, caplog):
    (tmp_path / BestModel.FILE_NAME).write_bytes(b"half")
    hook = BestModel("kaggle/mAP", tmp_path)
    hook.trainer = SimpleNamespace(start_iter=5, last_evaluation=(-1, {}))
    with caplog.at_level("WARNING"):
        hook.before_train()
    assert hook.best == -math.inf
    assert "model_best.pth: not a readable checkpoint" in caplog.text


def test_with_several_data_sets_the_warning_shows_their_names_of_the_metric(tmp_path, caplog):
    hook = BestModel("kaggle/mAP", tmp_path)
    results = {f"{name}_val/{metric}": 1.0 for name in "ab" for metric in ("kaggle/mAP", "segm/AP")}
    hook.trainer = SimpleNamespace(last_evaluation=(3, results))
    with caplog.at_level("WARNING"):
        hook.after_step()
    assert caplog.messages[0].endswith("there are a_val/kaggle/mAP, b_val/kaggle/mAP")
