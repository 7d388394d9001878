"""Networks: importing this package fills Detectron2's registries."""

from nucdet.modeling import backbone, meta_arch  # noqa: F401
