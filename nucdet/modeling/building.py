"""Builds a network from a config and reports what Detectron2 refuses as a mistake in the config."""

from __future__ import annotations

import traceback
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from nucdet.errors import InputError


def build_network(cfg: CfgNode) -> nn.Module:
    """Detectron2's ``build_model``.

    Raises:
        InputError: Detectron2 or nucdet refuses a value of MODEL.
    """
    try:
        return build_model(cfg)
    except InputError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        # an error raised elsewhere, as in a user's own network, is a bug that needs its traceback
        if "detectron2" not in Path(place.filename).parts:
            raise
        said = f"{type(error).__name__}: {error}" if str(error) else f"at `{place.line}`"
        raise InputError(
            f"MODEL: Detectron2 cannot build {cfg.MODEL.META_ARCHITECTURE} of these keys ({said}, "
            f"in {Path(place.filename).name}); correct the key of MODEL that this is about"
        ) from error
