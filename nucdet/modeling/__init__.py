"""Networks: importing this package fills Detectron2's registries."""

from nucdet.modeling import (  # noqa: F401
    backbone,
    center_voting,
    meta_arch,
    proposal_generator,
    roi_heads,
)
