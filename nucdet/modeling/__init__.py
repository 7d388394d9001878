"""Networks: importing this package fills Detectron2's registries."""

from nucdet.modeling import backbone, meta_arch, proposal_generator, roi_heads  # noqa: F401
