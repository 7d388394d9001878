"""Networks, one package a system: importing this package fills Detectron2's registries."""

from nucdet.modeling import (  # noqa: F401
    backbones,
    center_voting,
    crop_rcnn,
    mask_rcnn,
    semantic,
)
