"""Networks: importing this package fills Detectron2's registries."""

from nucdet.modeling import backbone  # noqa: F401
