"""FCN-8s on VGG16, the baseline of Zhang, Wei and Yue (Edinburgh, 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from nucdet.errors import InputError
from nucdet.modeling.semantic.networks.build import SEGMENTATION_REGISTRY, ConfiguredNetwork
from nucdet.modeling.weight_sources import weight_format


@SEGMENTATION_REGISTRY.register()
class FCN8s(ConfiguredNetwork, nn.Module):
    """Fully convolutional network (Shelhamer et al., 2017, arXiv:1605.06211) with stride 8.

    VGG16 (Simonyan and Zisserman, 2014, arXiv:1409.1556) with fc6 and fc7 as convolutions with
    dropout; 1×1 predictions from fc7, pool4 and pool3 are upsampled by learned transposed
    convolutions that are initialized as bilinear interpolation. The report calls pool4 and pool3
    "the last two max-pooling layers", although pool5 follows before fc6. The paper pads the image
    by 100 pixels and crops the result; here all convolutions keep the size, as in the code that the
    report is based on (Teichmann et al., 2016, arXiv:1612.07695).
    """

    size_divisibility = 32
    output_stride = 1

    @configurable
    def __init__(
        self,
        *,
        num_channels: int,
        channels: Sequence[int] = (4096, 4096),
        dropout: float = 0.5,
        norm: str = "",
    ):
        """
        Args:
            num_channels: of the logits.
            channels: of fc6 and fc7.
            dropout: probability, after fc6 and fc7.
            norm: "": no normalization, as VGG16's published weights require; "BN": batch norm after
                each convolution, for training from random weights.

        Raises:
            InputError: ``norm`` is neither.
        """
        super().__init__()
        if norm not in ("", "BN"):
            raise InputError(f"MODEL.SEGMENTATION.NORM is {norm!r}, expected '' or 'BN'")
        # torchvision's layers and names, so that its weights can be loaded
        self.features = make_layers(cfgs["D"], batch_norm=norm == "BN")
        fc6, fc7 = channels
        self.fc6 = nn.Conv2d(512, fc6, 7, padding=3)
        self.fc7 = nn.Conv2d(fc6, fc7, 1)
        self.norm6 = nn.BatchNorm2d(fc6) if norm else nn.Identity()
        self.norm7 = nn.BatchNorm2d(fc7) if norm else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        self.score_fc7 = nn.Conv2d(fc7, num_channels, 1)
        self.score_pool4 = nn.Conv2d(512, num_channels, 1)
        self.score_pool3 = nn.Conv2d(256, num_channels, 1)
        for score in (self.score_fc7, self.score_pool4, self.score_pool3):
            nn.init.normal_(score.weight, std=0.01)
            nn.init.zeros_(score.bias)
        self.up_fc7 = bilinear_upsampling(num_channels, 2)
        self.up_pool4 = bilinear_upsampling(num_channels, 2)
        self.up_pool3 = bilinear_upsampling(num_channels, 8)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        found = len(cfg.MODEL.PIXEL_MEAN)
        if found != 3:
            raise InputError(
                f"MODEL.PIXEL_MEAN has {found} values, expected three, as FCN8s takes RGB images"
            )
        return super().from_config(cfg)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to logits (N, K, H, W); H and W are multiples of 32."""
        pools = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(x)
        *_, pool3, pool4, pool5 = pools
        x = self.dropout(self.relu(self.norm6(self.fc6(pool5))))
        x = self.dropout(self.relu(self.norm7(self.fc7(x))))
        x = self.up_fc7(self.score_fc7(x)) + self.score_pool4(pool4)
        x = self.up_pool4(x) + self.score_pool3(pool3)
        return self.up_pool3(x).float()


def is_vgg16(weights: Mapping[str, Any]) -> bool:
    """Whether these are torchvision's weights of a VGG, by their names."""
    return {"features.0.weight", "classifier.0.weight", "classifier.3.weight"} <= weights.keys()


def fcn_of_vgg16(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's weights of VGG16 under the names of :class:`FCN8s`.

    The first linear layer takes 512 maps of 7 × 7 values, so its weights become those of a 7×7
    convolution. The last linear layer, for ImageNet's classes, is left out.
    """
    renamed = {name: w for name, w in weights.items() if name.startswith("features.")}
    for name, linear, kernel in (("fc6", "classifier.0", 7), ("fc7", "classifier.3", 1)):
        weight = torch.as_tensor(weights[f"{linear}.weight"])
        renamed[f"{name}.weight"] = weight.view(len(weight), -1, kernel, kernel)
        renamed[f"{name}.bias"] = weights[f"{linear}.bias"]
    return renamed


@weight_format(is_vgg16)
def _segmentor_of_vgg16(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The result of :func:`fcn_of_vgg16` under the names of a segmentor with that network."""
    return {f"network.{name}": value for name, value in fcn_of_vgg16(weights).items()}


def bilinear_upsampling(channels: int, factor: int) -> nn.ConvTranspose2d:
    """A transposed convolution that is initialized as bilinear interpolation of each channel.

    It takes (N, channels, H, W) to (N, channels, factor · H, factor · W); ``factor`` is even.
    """
    size = 2 * factor
    layer = nn.ConvTranspose2d(
        channels, channels, size, stride=factor, padding=factor // 2, bias=False
    )
    ramp = 1 - (torch.arange(size) - (factor - 0.5)).abs() / factor
    with torch.no_grad():
        layer.weight.zero_()
        for channel in range(channels):
            layer.weight[channel, channel] = ramp[:, None] * ramp
    return layer
