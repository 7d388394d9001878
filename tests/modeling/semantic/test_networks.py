"""Sizes, strides and gradients of the networks that label pixels."""

from __future__ import annotations

import pytest
import torch

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.modeling.semantic.networks.build import build_segmentation_network
from nucdet.modeling.semantic.networks.ensemble import MeanEnsemble
from nucdet.modeling.semantic.networks.fcn8s import FCN8s, fcn_of_vgg16, is_vgg16
from nucdet.modeling.semantic.networks.linknet import LinkNet
from nucdet.modeling.semantic.networks.small import SmallFCN, SmallUNet
from nucdet.modeling.semantic.networks.timm_unet import TimmUNet
from nucdet.modeling.semantic.networks.unet_cs230 import UNetCS230


def _conv(inside, outside, kernel=3, bias=True):
    return inside * outside * kernel**2 + bias * outside


def _parameters(network):
    return sum(p.numel() for p in network.parameters())


def _tiny(name, num_channels=1):
    """A network with few channels, and how many channels its images have."""
    shape = {"in_channels": 2, "num_channels": num_channels}
    if name == "MeanEnsemble":
        return MeanEnsemble(members=[_tiny("SmallUNet", num_channels), _tiny("LinkNet")])
    classes = {
        "SmallFCN": (SmallFCN, {"channels": (4, 4, 4)}),
        "SmallUNet": (SmallUNet, {"channels": (4, 4), "dropout": 0.5}),
        "LinkNet": (LinkNet, {"channels": (8, 8, 8)}),
        "UNetCS230": (UNetCS230, {"channels": (4, 4, 4, 4)}),
        "UNetCS230-1": (UNetCS230, {"channels": (4, 4, 4, 4), "last_convs": 0}),
    }
    network, keys = classes[name]
    return network(**shape, **keys)


NAMES = ["SmallFCN", "SmallUNet", "LinkNet", "UNetCS230", "UNetCS230-1", "MeanEnsemble"]


def test_unet_of_cs230_has_the_convolutions_of_the_report():
    down = _conv(1, 64) + _conv(64, 128) + _conv(128, 256) + _conv(256, 512) + _conv(512, 512)
    up = _conv(512, 256, 2) + _conv(256, 128, 2) + _conv(128, 64, 2)
    merge = _conv(512, 256) + _conv(256, 128) + _conv(128, 64)
    sizes = {2: _conv(64, 64) + 65, 3: 2 * _conv(64, 64) + 65, 0: 129 - _conv(128, 64)}
    for last_convs, last in sizes.items():
        network = UNetCS230(in_channels=1, num_channels=1, last_convs=last_convs)
        assert _parameters(network) == down + up + merge + last
    assert down + up + merge + sizes[2] == 6_183_937


def test_small_networks_have_the_sizes_of_the_report():
    fcn = SmallFCN(in_channels=3, num_channels=1, channels=(16, 32, 64))
    assert _parameters(fcn) == _conv(3, 16) + _conv(16, 32) + _conv(32, 64) + 65
    assert fcn(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 16, 16)

    unet = SmallUNet(in_channels=3, num_channels=1, channels=(16, 32, 64, 128))
    expected, above = 17, 3
    for width, below in ((16, 32), (32, 64), (64, 128), (128, 128)):
        expected += _conv(above, width) + _conv(width, width)  # down
        expected += _conv(below, width) + _conv(2 * width, width) + _conv(width, width)  # up
        above = width
    assert _parameters(unet) == expected


def test_linknet_has_the_sizes_of_the_report():
    def bn(channels):
        return 2 * channels

    def encoder(inside, outside):
        convs = _conv(inside, outside, bias=False) + 3 * _conv(outside, outside, bias=False)
        return convs + _conv(inside, outside, 1, bias=False) + 5 * bn(outside)

    def decoder(inside, quarter):
        return (
            _conv(inside, quarter, 1, False) + _conv(quarter, quarter, 3, False) + 2 * bn(quarter)
        )

    link = _conv(32, 64, 1, False) + bn(64)
    two = encoder(3, 64) + encoder(64, 128) + decoder(128, 32) + link + decoder(64, 16) + 17
    assert _parameters(LinkNet(in_channels=3, num_channels=1, channels=(64, 128))) == two
    four = LinkNet(in_channels=3, num_channels=1, channels=(64, 128, 256, 512))
    assert [d[0][0].out_channels for d in four.decoders] == [128, 64, 32, 16]


def test_fcn_is_vgg16_with_its_linear_layers_as_convolutions():
    with torch.device("meta"):
        vgg16 = 14_714_688 + _conv(512, 4096, 7) + _conv(4096, 4096, 1)
        scores = 4097 + 513 + 257
        ups = 4**2 + 4**2 + 16**2
        assert _parameters(FCN8s(num_channels=1)) == vgg16 + scores + ups
        normed = FCN8s(num_channels=1, norm="BN")
    assert _parameters(normed) == vgg16 + scores + ups + 2 * (4224 + 8192)


def test_fcn_takes_the_weights_of_torchvision():
    network = FCN8s(num_channels=1, channels=(6, 5))
    vgg = {k: v for k, v in network.state_dict().items() if k.startswith("features.")}
    linear6, linear7 = torch.randn(6, 512 * 49), torch.randn(5, 6)
    vgg |= {"classifier.0.weight": linear6, "classifier.0.bias": torch.ones(6)}
    vgg |= {"classifier.3.weight": linear7, "classifier.3.bias": torch.ones(5)}
    vgg |= {"classifier.6.weight": torch.zeros(9, 5), "classifier.6.bias": torch.zeros(9)}
    assert is_vgg16(vgg)
    assert not is_vgg16(network.state_dict())
    missing, unexpected = network.load_state_dict(fcn_of_vgg16(vgg), strict=False)
    assert not unexpected
    assert all(name.startswith(("score_", "up_")) for name in missing)
    # the middle of a 7 × 7 map sees all of it, as the linear layer does
    pool5 = torch.randn(1, 512, 7, 7)
    torch.testing.assert_close(
        network.fc6(pool5)[0, :, 3, 3], linear6 @ pool5.flatten() + 1, rtol=1e-4, atol=1e-3
    )


def test_fcn_starts_as_bilinear_interpolation():
    network = FCN8s(num_channels=2, channels=(4, 4))
    for factor, layer in ((2, network.up_fc7), (8, network.up_pool3)):
        x = torch.randn(1, 2, 6, 5)
        expected = torch.nn.functional.interpolate(
            x, scale_factor=factor, mode="bilinear", align_corners=False
        )
        # at the rim the one interpolates towards 0 and the other repeats
        inside = (..., slice(factor, -factor), slice(factor, -factor))
        torch.testing.assert_close(layer(x)[inside], expected[inside])


@pytest.mark.parametrize("name", NAMES)
def test_logits_have_the_announced_size_and_gradient_reaches_everything(name):
    torch.manual_seed(0)
    network = _tiny(name)
    step = network.size_divisibility
    x = torch.randn(2, 2, 3 * step, 5 * step)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(x)
    stride = network.output_stride
    assert logits.shape == (2, 1, 3 * step // stride, 5 * step // stride)
    assert logits.dtype == torch.float32
    (logits * torch.randn_like(logits)).sum().backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("norm", ["", "BN"])
def test_fcn_logits_and_gradients(norm):
    torch.manual_seed(0)
    network = FCN8s(num_channels=3, channels=(8, 8), norm=norm)
    logits = network(torch.randn(1, 3, 32, 96))
    assert logits.shape == (1, 3, 32, 96)
    logits.square().sum().backward()
    # the bias of a convolution before batch norm changes nothing
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert all(norm and name.endswith("bias") for name in idle)


def test_timm_unet_logits_and_gradients():
    torch.manual_seed(0)
    cfg = load_config(overrides=["MODEL.TIMM.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", "0"])
    network = build_segmentation_network(cfg)
    assert isinstance(network, TimmUNet)
    network.to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 32, 96).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(x)
    assert logits.shape == (2, 3, 32, 96)
    assert logits.dtype == torch.float32
    (logits * torch.randn_like(logits)).sum().backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]


def test_timm_unet_shuffles_pixels_as_torch_does():
    torch.manual_seed(0)
    network = build_segmentation_network(load_config())
    y = torch.randn(2, network.to_full.in_channels, 3, 5)
    image = torch.randn(2, 3, 6, 10)
    shuffled = torch.nn.functional.pixel_shuffle(network.to_full(y), 2)
    found = network._full_resolution(y, image)
    torch.testing.assert_close(found, torch.cat([shuffled, image], dim=1))


@pytest.mark.parametrize("num_channels", [1, 3])
def test_ensemble_has_the_mean_of_its_members_probabilities(num_channels):
    class Constant(torch.nn.Module):
        size_divisibility, output_stride = 1, 1

        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, x):
            return self.value.expand(len(x), -1, *x.shape[2:])

    def probabilities(logits):
        return logits.sigmoid() if num_channels == 1 else logits.softmax(dim=1)

    torch.manual_seed(0)
    members = [Constant(torch.randn(1, num_channels, 1, 1)) for _ in range(3)]
    x = torch.zeros(2, 1, 4, 5)
    expected = sum(probabilities(member(x)) for member in members) / 3
    torch.testing.assert_close(probabilities(MeanEnsemble(members=members)(x)), expected)
    # members as sure as can be, of opposite opinions
    sure = torch.zeros(1, num_channels, 1, 1)
    sure[0, -1] = 200.0
    found = MeanEnsemble(members=[Constant(sure), Constant(-sure)])(x)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(probabilities(found)[:, -1], torch.full((2, 4, 5), 0.5))


def test_ensemble_builds_its_members_from_their_keys():
    cfg = load_config(overrides=["MODEL.SEGMENTATION.NETWORK", "MeanEnsemble"])
    cfg.MODEL.SEGMENTATION.MEMBERS = [
        {"NETWORK": "SmallUNet", "CHANNELS": [4, 4, 4]},
        {"NETWORK": "LinkNet", "CHANNELS": [8, 8]},
    ]
    network = build_segmentation_network(cfg)
    assert [type(member) for member in network.members] == [SmallUNet, LinkNet]
    assert network.size_divisibility == 8
    for members, message in (
        ([], "at least one"),
        ([{"NETWORK": "SmallFCN", "CHANNELS": [4, 4, 4]}], "full size"),
        ([{"NETWROK": "SmallFCN"}], "NETWROK"),
        (["SmallUNet"], "SmallUNet"),
    ):
        cfg.MODEL.SEGMENTATION.MEMBERS = members
        with pytest.raises(InputError, match=message):
            build_segmentation_network(cfg)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["NETWORK", "UNet"], r"NETWORK is 'UNet', expected one of \['FCN8s', 'LinkNet'"),
        (["CHANNELS", "(8, 8)"], r"CHANNELS is \(8, 8\), expected five numbers"),
        (["NETWORK", "FCN8s", "NORM", "GN", "CHANNELS", "(8, 8)"], "NORM is 'GN'"),
        (["NETWORK", "UNetCS230", "LAST_CONVS", "-1"], "LAST_CONVS"),
        (["NETWORK", "MeanEnsemble", "NUM_CHANNELS", "4"], "NUM_CHANNELS is 4"),
        (["NETWORK", "MeanEnsemble", "MEMBERS", "[{'DROPOUT': 0.1}]"], "names no other NETWORK"),
        (["NETWORK", "SmallFCN"], "expected three numbers"),
        (["NETWORK", "LinkNet", "CHANNELS", "()"], "expected one or more numbers"),
    ],
)
def test_wrong_keys_are_one_line(overrides, message):
    pairs = [f"MODEL.SEGMENTATION.{t}" if i % 2 == 0 else t for i, t in enumerate(overrides)]
    with pytest.raises(InputError, match=message):
        build_segmentation_network(load_config(overrides=pairs))
