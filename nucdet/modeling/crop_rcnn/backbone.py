"""The small residual network that report 000 uses twice: as the RPN's backbone and as filter."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(CNNBlockBase):
    """Two 3×3 convolutions with batch norm, added to their input.

    He et al., 2016, arXiv:1512.03385. Where size or channels change, the shortcut is a 1×1
    convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, stride)
        self.first = _conv_norm(in_channels, out_channels, 3, stride)
        self.second = _conv_norm(out_channels, out_channels, 3)
        same = in_channels == out_channels and stride == 1
        self.shortcut = nn.Identity() if same else _conv_norm(in_channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class CropResNet(Backbone):
    """Nine convolutions with batch norm and ReLU: one of 5×5, then four residual blocks of 3×3.

    The report gives the depth, the kernels and a total stride of 8, but neither the channels nor
    which layers have a stride of 2. Here the first convolution and the first two blocks have it:
    early strides save computation and give a large receptive field, 121 pixels with the RPN's
    convolution (the report aims at about 150).

    The feature maps are ``"res3"`` (stride 8) and ``"image"``, the input itself, from which heads
    cut crops.
    """

    def __init__(self, channels: Sequence[int], *, in_channels: int = 1, freeze_at: int = 0):
        """
        Args:
            channels: three numbers: of the first convolution, of the first block, of the others.
            in_channels: of the image.
            freeze_at: 0: no layer is frozen; 1: the first convolution; n: also the first n − 1 of
                the 4 blocks.
        """
        super().__init__()
        first, middle, last = channels
        self.stem = _Stem(in_channels, first)
        self.blocks = nn.ModuleList(
            [
                ResidualBlock(first, middle, stride=2),
                ResidualBlock(middle, last, stride=2),
                ResidualBlock(last, last),
                ResidualBlock(last, last),
            ]
        )
        self._out_features = ["res3", "image"]
        self._out_feature_strides = {"res3": 8, "image": 1}
        self._out_feature_channels = {"res3": last, "image": in_channels}
        for layer in [self.stem, *self.blocks][:freeze_at]:
            layer.freeze()

    @property
    def size_divisibility(self) -> int:
        return 8

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Feature maps of images (N, C, H, W) with grey levels 0–1; H, W must be multiples of 8.

        Returns:
            ``{"res3": (N, K, H / 8, W / 8), "image": image}``.
        """
        x = self.stem(image)
        for block in self.blocks:
            x = block(x)
        return {"res3": x, "image": image}


class _Stem(CNNBlockBase):
    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 2)
        self.layers = _conv_norm(in_channels, out_channels, 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layers(x))


def _conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False
    )
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))


@BACKBONE_REGISTRY.register()
def build_crop_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> CropResNet:
    """CropResNet from MODEL.CROP_RCNN.BACKBONE_CHANNELS and MODEL.BACKBONE.FREEZE_AT."""
    return CropResNet(
        cfg.MODEL.CROP_RCNN.BACKBONE_CHANNELS,
        in_channels=input_shape.channels,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )
