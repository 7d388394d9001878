from __future__ import annotations

import copy

import pytest
import torch
from detectron2.engine import SimpleTrainer, hooks
from torch import nn

from nucdet.errors import InputError
from nucdet.train.averaging import WeightAveraging


class _Net(nn.Module):
    """A linear layer behind a batch norm; the loss is what it says for the batch."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(3), nn.Linear(3, 1)

    def forward(self, batch):
        return {"loss": self.linear(self.norm(batch)).pow(2).mean() + self.linear.weight.sum()}


def _batches():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(8, 3, generator=generator) for _ in range(8)]


def _trainer(model, batches, decay):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    trainer = SimpleTrainer(model, batches, optimizer)
    trainer.register_hooks([WeightAveraging(model, decay)])
    return trainer


def _state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return _Net()


def test_the_average_is_that_of_the_formula_and_training_does_not_notice(net):
    plain = copy.deepcopy(net)
    expected = _state(net)
    trainer = _trainer(net, _batches(), decay=0.3)

    reference = SimpleTrainer(
        plain, _batches(), torch.optim.AdamW(plain.parameters(), lr=0.1)
    )  # trains without averages

    def average(trainer):
        # 1/10, 2/11, 3/12 and 4/13, then the constant one
        decay = min(0.3, (1 + trainer.iter) / (10 + trainer.iter))
        for name, now in plain.state_dict().items():
            mixed = decay * expected[name] + (1 - decay) * now
            expected[name] = mixed if now.is_floating_point() else now.clone()

    reference.register_hooks([hooks.CallbackHook(after_step=average)])
    reference.train(0, 6)
    seen = []
    trainer.register_hooks([hooks.CallbackHook(after_step=lambda _: seen.append(_state(net)))])
    trainer.train(0, 6)

    for name, value in expected.items():
        torch.testing.assert_close(seen[-1][name], value)
        torch.testing.assert_close(net.state_dict()[name], value)
    training = trainer.state_dict()["hooks"]["WeightAveraging"]["weights"]
    for name, value in plain.state_dict().items():
        assert torch.equal(training[name], value)
    assert not torch.equal(training["linear.weight"], net.linear.weight)


def test_a_resumed_training_gives_what_an_uninterrupted_one_gives(net):
    whole = copy.deepcopy(net)
    trainer = _trainer(whole, _batches(), 0.9)
    trainer.train(0, 6)

    first = copy.deepcopy(net)
    half = _trainer(first, _batches(), 0.9)
    half.train(0, 3)
    saved = copy.deepcopy((first.state_dict(), half.state_dict()))

    second = _Net()
    rest = _trainer(second, _batches()[3:], 0.9)
    second.load_state_dict(saved[0])
    rest.load_state_dict(saved[1])
    rest.train(3, 6)
    for name, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name
    ends = [t.state_dict()["hooks"]["WeightAveraging"] for t in (trainer, rest)]
    assert ends[0]["updates"] == ends[1]["updates"] == 6
    assert torch.equal(ends[0]["weights"]["linear.weight"], ends[1]["weights"]["linear.weight"])


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_is_none_is_named(net, decay):
    with pytest.raises(InputError, match=r"SOLVER\.EMA_DECAY"):
        WeightAveraging(net, decay)
