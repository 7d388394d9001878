"""nucdet:// names, their manifest, and what is said when something is wrong with them."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from detectron2.utils.file_io import PathManager
from torch import nn

from nucdet.errors import InputError
from nucdet.modeling import model_zoo
from nucdet.modeling.checkpointing import NucleusCheckpointer


def _network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A folder with the model ``tiny``, whose kernels are 1/3 in 16 bits."""
    monkeypatch.setattr(model_zoo, "MODEL_ZOO", tmp_path)
    state = {key: tensor.clone() for key, tensor in _network().state_dict().items()}
    state["0.weight"] = torch.full((4, 3, 3, 3), 1 / 3).half()
    torch.save({"model": state}, tmp_path / "tiny.pth")
    (tmp_path / "tiny.yaml").write_text("MODEL: {WEIGHTS: 'nucdet://tiny'}\n")
    digest = hashlib.sha256((tmp_path / "tiny.pth").read_bytes()).hexdigest()
    (tmp_path / "tiny.json").write_text(json.dumps({"sha256": digest}))
    return tmp_path


def _load(name: str, network: nn.Module | None = None, complete: bool = True) -> nn.Module:
    network = _network() if network is None else network
    NucleusCheckpointer(network, complete=complete).load(name)
    return network


def test_stored_in_16_bits_computed_in_32(zoo):
    network = _load("nucdet://tiny")
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    third = float(torch.tensor(1 / 3).half())
    assert third != pytest.approx(1 / 3, abs=1e-5)
    assert network[0].weight.unique().tolist() == [third]


def test_handler_opens_the_file(zoo):
    with PathManager.open("nucdet://tiny", "rb") as file:
        assert file.read() == (zoo / "tiny.pth").read_bytes()


def test_unknown_name_lists_what_ships(zoo):
    message = "//huge: unknown model; the shipped models are tiny; for weights of your own, give"
    with pytest.raises(InputError, match=message):
        _load("nucdet://huge")
    with pytest.raises(InputError, match="unknown model"):
        _load("nucdet://../tiny")
    (zoo / "tiny.json").unlink()
    with pytest.raises(InputError, match="no model ships with this copy"):
        _load("nucdet://tiny")


@pytest.mark.parametrize("ending", ["pth", "yaml"])
def test_missing_file(zoo, ending):
    (zoo / f"tiny.{ending}").unlink()
    with pytest.raises(InputError, match=rf"tiny\.{ending}: missing, .*git checkout"):
        _load("nucdet://tiny")


def test_wrong_hash_names_both_and_the_remedy(zoo):
    path = zoo / "tiny.pth"
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(InputError) as caught:
        _load("nucdet://tiny")
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(path), expected, found, "git checkout", "install nucdet again"):
        assert part in message


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"sha256": 5}'])
def test_broken_manifest(zoo, text):
    (zoo / "tiny.json").write_text(text)
    with pytest.raises(InputError, match=r"tiny\.json: not a manifest"):
        _load("nucdet://tiny")


def test_weights_of_another_architecture(zoo):
    other = nn.Module()
    other.encoder = nn.Linear(2, 2)
    message = "nucdet://tiny: weights of another network; they fill 0 of the 2 parameters"
    for complete in (True, False):
        with pytest.raises(InputError, match=message):
            _load("nucdet://tiny", other, complete)


def test_a_part_is_enough_to_start_a_training_but_not_to_predict(zoo):
    # same names, the second layer of another size
    longer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
    assert _load("nucdet://tiny", longer, complete=False)[0].weight.unique().numel() == 1
    with pytest.raises(InputError, match=r"fill 4 of the 6 parameters .*Sequential, not 2\.weight"):
        _load("nucdet://tiny", longer)
    longest = nn.Sequential(*longer, *(nn.Conv2d(1, 1, 1) for _ in range(4)))
    with pytest.raises(InputError, match="fill 4 of the 14 parameters"):
        _load("nucdet://tiny", longest, complete=False)
    _load(str(zoo / "tiny.pth"), longest, complete=False)
    wider = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(4))
    with pytest.raises(InputError, match=r"fill 2 of the 4 parameters"):
        _load("nucdet://tiny", wider)
