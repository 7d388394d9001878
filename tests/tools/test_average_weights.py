"""Two checkpoints of a network in, their mean out, which the network loads."""

from __future__ import annotations

import pytest
import torch

from nucdet.config import load_config
from nucdet.modeling.checkpointing import NucleusCheckpointer

CONFIG = "configs/DSB2018/linknet_2.yaml"


@pytest.fixture
def network(repository):
    from detectron2.modeling import build_model

    return build_model(load_config(repository / CONFIG, ["MODEL.DEVICE", "cpu"]))


def test_the_network_loads_the_mean(run_tool, network, tmp_path):
    weights = network.state_dict()
    torch.save({"model": weights, "iteration": 3}, tmp_path / "a.pth")
    tripled = {k: 3 * v if v.is_floating_point() else v for k, v in weights.items()}
    torch.save({"model": tripled}, tmp_path / "b.pth")
    output = tmp_path / "mean" / "model_final.pth"
    files = (tmp_path / "a.pth", tmp_path / "b.pth")
    code, out, _ = run_tool("average_weights.py", *files, "--output", output, "--shares", "1,3")
    assert code == 0
    assert "mean of 2 checkpoints" in out

    expected = {k: 2.5 * v if v.is_floating_point() else v for k, v in weights.items()}
    expected = {name: tensor.clone() for name, tensor in expected.items()}
    NucleusCheckpointer(network, complete=True).load(str(output))
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])


def test_a_missing_file_is_one_line(run_tool, tmp_path):
    code, _, error = run_tool(
        "average_weights.py", tmp_path / "a.pth", tmp_path / "b.pth", "--output", tmp_path / "c.pth"
    )
    assert code == 2
    assert error.count("\n") == 1 and "a.pth: no such checkpoint" in error
    assert not (tmp_path / "c.pth").exists()
