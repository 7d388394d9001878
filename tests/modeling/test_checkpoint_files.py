import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nucdet.errors import InputError
from nucdet.modeling.checkpoint_files import read_checkpoint
from nucdet.modeling.checkpointing import NucleusCheckpointer


class Harmful:
    """Unpickled by a careless reader, it makes the file that it names."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["model.pkl", "model.pth", "old_format.pth"])
def test_a_checkpoint_runs_no_code(tmp_path, name):
    proof, path = tmp_path / "proof", tmp_path / name
    content = {"model": {"weight": torch.ones(2, 3)}, "extra": Harmful(proof)}
    if name.endswith(".pkl"):
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=name == "model.pth")
    for read in (read_checkpoint, NucleusCheckpointer(nn.Linear(3, 2)).load):
        with pytest.raises(InputError, match=rf"{name}.*could run code") as caught:
            read(str(path))
        assert "\n" not in str(caught.value)
    assert not proof.exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_of_detectron2s_zoo_loads(tmp_path, protocol):
    # as R-50.pkl and model_final_….pkl are made: arrays, a name of the author, numpy numbers
    path = tmp_path / "model_final_280758.pkl"
    weights = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(2, "f4")}
    content = {"model": weights, "__author__": "Detectron2 Model Zoo", "scale": np.float64(3)}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    model = nn.Linear(3, 2)
    NucleusCheckpointer(model, complete=True).load(str(path))
    assert model.weight.flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_a_pickle_of_caffe2s_zoo_loads_without_its_momenta(tmp_path):
    path = tmp_path / "R-50.pkl"
    blobs = {"weight": np.ones((2, 3), "f4"), "bias": np.full(2, 5, "f4")}
    blobs |= {f"{name}_momentum": blob for name, blob in blobs.items()}
    path.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    model = nn.Linear(3, 2)
    NucleusCheckpointer(model).load(str(path))
    assert model.bias.tolist() == [5, 5]


def test_one_flipped_bit_is_found(tmp_path):
    path = tmp_path / "model.pth"
    weights = torch.linspace(0, 1, 5000)
    torch.save({"model": {"weight": weights}}, path)
    data = bytearray(path.read_bytes())
    data[data.index(weights.numpy().tobytes()) + 1001] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"model\.pth: damaged \(.*differs from its checksum\)"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [([1, 2], "a list"), (torch.ones(3), "a Tensor"), (None, "a NoneType"), ({}, "an empty dict")],
)
def test_what_is_no_dict_of_weights(tmp_path, content, found):
    path = tmp_path / "model.pth"
    torch.save(content, path)
    with pytest.raises(InputError, match=f"holds {found}; expected a dict of weights"):
        read_checkpoint(path)


@pytest.mark.parametrize("data", [b"", b"some text\n", b"PK\x03\x04 and no more"])
@pytest.mark.parametrize("name", ["model.pth", "model.pkl"])
def test_what_is_no_checkpoint(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"{name}: not a readable checkpoint"):
        read_checkpoint(path)


def test_ordered_dicts_and_trainers_states_are_read(tmp_path):
    path = tmp_path / "model.pth"
    state = OrderedDict(weight=torch.ones(1))
    torch.save({"model": state, "iteration": 7, "optimizer": {"state": {0: [1.5, "a"]}}}, path)
    assert read_checkpoint(path)["iteration"] == 7
