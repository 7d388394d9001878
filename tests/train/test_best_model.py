from __future__ import annotations

import math
from types import SimpleNamespace

from nucdet.train.hooks import BestModel


def test_a_damaged_best_model_counts_as_none(tmp_path, caplog):
    (tmp_path / BestModel.FILE_NAME).write_bytes(b"half")
    hook = BestModel("kaggle/mAP", tmp_path)
    hook.trainer = SimpleNamespace(start_iter=5)
    with caplog.at_level("WARNING"):
        hook.before_train()
    assert hook.best == -math.inf
    assert "model_best.pth: not a readable checkpoint" in caplog.text
