"""Any convolutional timm network as the bottom-up part of a feature pyramid."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool
from torch import Tensor, nn

from nucdet.errors import InputError, similar_names
from nucdet.layers.convolution import speed_up
from nucdet.layers.mix_style import mix_outputs

# C2…C5 of the feature pyramid paper: strides 4, 8, 16, 32
_STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
# maps that mostly show style: colors, contrast, texture
_STRIDES_OF_STYLE = (2, 4, 8)


class TimmBackbone(Backbone):
    """A timm network that returns its feature maps at strides 4, 8, 16 and 32.

    The maps are named ``res2`` … ``res5`` as in Detectron2's ResNet, so that configs and FPN do not
    depend on the network.
    """

    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        norm: str = "FrozenBN",
        freeze_at: int = 0,
        mix_style: float = 0.0,
    ):
        """
        Args:
            name: a timm model with ``features_only`` support, e.g. ``tf_efficientnet_lite0``.
            in_channels: channels of the input images.
            norm: ``"FrozenBN"`` keeps the statistics and affine parameters of every batch norm as
                loaded (the statistics of batches of a few images are too noisy); ``"BN"`` trains
                them.
            freeze_at: 0: nothing is frozen; 1: the stem; n ≥ 2: also the stages up to ``res<n>``.
                Their batch norms keep their statistics, too.
            mix_style: share of the batches in training to whose maps at the strides 2, 4 and 8
                :func:`nucdet.layers.mix_style.mix_style` is applied.

        Raises:
            InputError: there is no such network, ``norm`` is invalid, or the network lacks one of
                the strides or the stage of ``freeze_at``.
        """
        import timm  # takes seconds, and most users of this module build no such network
        from timm.layers import freeze_batch_norm_2d

        super().__init__()
        if norm not in ("FrozenBN", "BN"):
            raise InputError(f"MODEL.TIMM.NORM is {norm!r}, expected 'FrozenBN' or 'BN'")
        if not timm.is_model(name):
            similar = ", ".join(similar_names(timm.list_models(), name)[:5])
            hint = f"; it has {similar}" if similar else ""
            raise InputError(f"MODEL.TIMM.NAME is {name!r}, which timm does not know{hint}")
        # weights come through MODEL.WEIGHTS and the checkpointer, never from a hub
        body = timm.create_model(name, pretrained=False, features_only=True, in_chans=in_channels)
        reductions = body.feature_info.reduction()
        missing = set(_STRIDES.values()) - set(reductions)
        if missing:
            raise InputError(
                f"MODEL.TIMM.NAME is {name!r}, which has no feature map at stride {sorted(missing)}"
            )
        self._indices = {key: reductions.index(stride) for key, stride in _STRIDES.items()}
        channels = body.feature_info.channels()
        self._out_features = list(_STRIDES)
        self._out_feature_strides = dict(_STRIDES)
        self._out_feature_channels = {key: channels[i] for key, i in self._indices.items()}
        self.body = body
        if norm == "FrozenBN":
            self.body = freeze_batch_norm_2d(self.body)
        speed_up(self.body)
        if mix_style:
            for index, stride in enumerate(reductions):
                if stride in _STRIDES_OF_STYLE:
                    mix_outputs(self._stage(index), mix_style)
        self._frozen = self._modules_up_to(freeze_at)
        for module in self._frozen:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad = False

    @classmethod
    def from_cfg(cls, cfg: CfgNode, in_channels: int) -> TimmBackbone:
        """The network of MODEL.TIMM and MODEL.BACKBONE.FREEZE_AT."""
        return cls(
            cfg.MODEL.TIMM.NAME,
            in_channels=in_channels,
            norm=cfg.MODEL.TIMM.NORM,
            freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
            mix_style=cfg.MODEL.TIMM.MIX_STYLE,
        )

    def _modules_up_to(self, freeze_at: int) -> list[nn.Module]:
        """Every module up to the end of the stage, in timm's order of execution."""
        if freeze_at < 1:
            return []
        stride = 2**freeze_at  # stage n of the pyramid paper has stride 2^n, the stem 2
        strides = self.body.feature_info.reduction()
        if stride not in strides:
            raise InputError(
                f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}, but the maps of MODEL.TIMM.NAME have "
                f"the strides {strides}, and none {stride}"
            )
        last = self._stage(strides.index(stride))
        modules = list(self.body.modules())[1:]
        return modules[: modules.index([*last.modules()][-1]) + 1]

    def _stage(self, index: int) -> nn.Module:
        """The module whose output is the map with this index."""
        name = self.body.feature_info.module_name(index)
        # some networks are flattened: feature_info says "stages.0", the module is "stages_0"
        modules = dict(self.body.named_modules())
        return modules.get(name) or modules[name.replace(".", "_", 1)]

    def train(self, mode: bool = True) -> TimmBackbone:
        """See :meth:`nn.Module.train`; frozen batch norms stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Image batch (N, C, H, W), normalized, to ``{"res2": (N, C2, H/4, W/4), …}``."""
        maps = self.body(image)
        return {key: maps[i] for key, i in self._indices.items()}


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Feature pyramid (Lin et al., 2017, arXiv:1612.03144) on ``MODEL.TIMM.NAME``.

    Reads MODEL.TIMM, MODEL.FPN and MODEL.BACKBONE.FREEZE_AT; gives p2 … p6.
    """
    return FPN(**fpn_arguments(cfg, input_shape))


def fpn_arguments(cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
    """The arguments of the FPN that :func:`build_timm_fpn_backbone` builds."""
    return {
        "bottom_up": TimmBackbone.from_cfg(cfg, input_shape.channels),
        "in_features": cfg.MODEL.FPN.IN_FEATURES,
        "out_channels": cfg.MODEL.FPN.OUT_CHANNELS,
        "norm": cfg.MODEL.FPN.NORM,
        "top_block": LastLevelMaxPool(),
        "fuse_type": cfg.MODEL.FPN.FUSE_TYPE,
    }
