"""A training that diverges ends in one line and leaves what was good."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from nucdet.train.hooks import Diverged, FiniteWeights

CONFIG = "configs/quick_schedules/unet_lite0_synthetic.yaml"


def test_a_diverging_training_names_iteration_rate_and_checkpoint(
    run_tool, registered, repository, tiny_overrides, tmp_path
):
    pairs = ["SOLVER.BASE_LR", "1e20", "SOLVER.CLIP_GRADIENTS.ENABLED", "False"]
    pairs += [
        "SOLVER.WARMUP_ITERS",
        "0",
        "SOLVER.CHECKPOINT_PERIOD",
        "1",
        "SOLVER.OPTIMIZER",
        "SGD",
    ]
    code, _, error = run_tool(
        "train_net.py", "--config-file", str(repository / CONFIG), *tiny_overrides, *pairs
    )
    assert code == 2
    assert "Traceback" not in error
    line = error.splitlines()[-1]
    assert line.startswith(f"error: {tmp_path / 'output'}: the training diverged at iteration ")
    assert (
        "iteration 1:" in line
        and "the learning rate was 8.53553e+19" in line
        and "lower SOLVER.BASE_LR" in line
    )
    for path in (tmp_path / "output").glob("model_*.pth"):
        weights = torch.load(path, weights_only=True)["model"].values()
        assert all(tensor.isfinite().all() for tensor in weights if tensor.is_floating_point())


def test_weights_that_are_no_numbers_are_not_saved():
    model = nn.Linear(2, 2)
    hook = FiniteWeights(model, period=5)
    hook.trainer = SimpleNamespace(iter=4, max_iter=100)
    hook.after_step()
    with torch.no_grad():
        model.bias[1] = torch.inf
    hook.trainer.iter = 5
    hook.after_step()  # between two checkpoints
    for iteration in (9, 99):
        hook.trainer.iter = iteration
        with pytest.raises(Diverged, match="bias holds values that are no finite numbers"):
            hook.after_step()
