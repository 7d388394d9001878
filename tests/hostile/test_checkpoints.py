"""Bad checkpoints, asked for by the class that every tool opens them with."""

from __future__ import annotations

import pytest
from torch import nn

from nucdet.errors import InputError
from nucdet.modeling.checkpointing import NucleusCheckpointer

CASES = {
    "ck_list.pth": "holds a list",
    "ck_tensor.pth": "holds a Tensor",
    "ck_none.pth": "holds a NoneType",
    "ck_text.pth": "holds a str",
    "ck_empty.pth": "an empty dict",
    "ck_model_list.pth": "weights are a list",
    "ck_model_empty.pth": "weights are a dict|empty",
    "ck_values.pth": "'weight' is a str",
    "ck_names.pth": "3 is a Tensor",
    "ck_stranger.pth": "weights of another network",
    "ck_cut.pth": "not a readable checkpoint",
    "ck_zero.pth": "not a readable checkpoint",
    "ck_words.pth": "not a readable checkpoint",
    "ck_code.pkl": "os.system|posix.system",
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_checkpoint_is_an_input_error(name, judge, bad, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        NucleusCheckpointer(nn.Linear(2, 2)).load(str(bad / name))
    assert judge(caught.value, CASES[name]) == "one clear line"
    assert not (tmp_path / "hacked").exists()


def test_a_good_one_loads(bad):
    NucleusCheckpointer(nn.Linear(2, 2), complete=True).load(str(bad / "ck_good.pth"))


_QUICK = "--config-file quick_schedules/unet_lite0_synthetic.yaml"
TOOLS = {
    "predict --input {bad}/images --output out " + _QUICK: "MODEL.WEIGHTS {weights}",
    "train " + _QUICK: "MODEL.DEVICE cpu MODEL.WEIGHTS {weights}",
    "train --eval-only " + _QUICK: "MODEL.DEVICE cpu MODEL.WEIGHTS {weights}",
    "export_weights --name mine --output zoo " + _QUICK: "{weights}",
}


@pytest.mark.parametrize("command", TOOLS)
def test_no_tool_runs_what_a_checkpoint_asks_for(
    command, answer, judge, bad, drawn_root, tmp_path, monkeypatch
):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(drawn_root))
    text = f"{command} {TOOLS[command]}".format(bad=bad, weights=bad / "ck_code.pkl")
    code, error = answer(*text.split(" "))
    assert judge(code, error, "could run code") == "one clear line", error
    assert not (tmp_path / "hacked").exists()
