"""Removed and renamed config keys, so that configs of earlier versions can still be loaded."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from nucdet.errors import InputError

logger = logging.getLogger(__name__)

# key -> its former default, which is what nucdet always does now
REMOVED_KEYS: dict[str, Any] = {
    "INPUT.AUGMENTATION.CHANNELS.GAIN": 0.2,
    "INPUT.AUGMENTATION.CHANNELS.OFFSET": 15.0,
    "INPUT.AUGMENTATION.CHANNEL_SHUFFLE_PROB": 0.0,
    "INPUT.AUGMENTATION.COPY_PASTE.OTHER_PICTURE": 0.5,
    "INPUT.AUGMENTATION.FADE.CONTRAST": 0.2,
    "INPUT.AUGMENTATION.HUE_SATURATION.HUE": 20.0,
    "INPUT.AUGMENTATION.HUE_SATURATION.SATURATION": 0.3,
    "INPUT.AUGMENTATION.ILLUMINATION.STRENGTH": 0.5,
    "INPUT.AUGMENTATION.MOSAIC.PROB": 0.0,
    "INPUT.AUGMENTATION.NOISE.SIGMA": 12.0,
    "INPUT.AUGMENTATION.STAIN.STRENGTH": 0.1,
    "INPUT.SEMANTIC_TARGETS.BORDER": "touching",
    "INPUT.SEMANTIC_TARGETS.BORDER_GAP": 5.0,
    "INPUT.SEMANTIC_TARGETS.BORDER_SHARE": 0.5,
    "INPUT.SEMANTIC_TARGETS.BORDER_WIDTH": 3.0,
    "INPUT.SEMANTIC_TARGETS.WEIGHT_SIGMA": 5.0,
    "INPUT.SEMANTIC_TARGETS.WEIGHT_W0": 10.0,
    "MODEL.CENTER_VOTING.LOSS_WEIGHTS": (1.0, 0.5, 1.0, 1.0),
    "MODEL.CROP_RCNN.CROP_SIZE": 32,
    "MODEL.CROP_RCNN.JITTER": 0.2,
    "MODEL.CROP_RCNN.MASKS_PER_IMAGE": 32,
    "MODEL.NUCLEUS_FILTER.NUCLEI_PER_IMAGE": 32,
    "MODEL.NUCLEUS_FILTER.OTHERS_PER_IMAGE": 16,
    "MODEL.NUCLEUS_FILTER.THRESHOLD": 0.5,
    "MODEL.SEGMENTATION.FOCAL_GAMMA": 2.0,
    "MODEL.SEPARATION.SMOOTHING": 1.0,
}

# key -> the current name of its last part
RENAMED_KEYS = {"INPUT.AUGMENTATION.COLOURISE_PROB": "COLORIZE_PROB"}


def with_current_keys(loaded: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """Translate the content of a config file of an earlier version to the current keys.

    The configs that a training dumps or a model ships with contain every key. A removed key with
    its former default is left out, as it changes nothing; a renamed key gets its current name. Both
    are logged.

    Args:
        loaded: nested mappings, as :func:`nucdet.config_files.read_config_file` returns them.
        path: the file, for messages.

    Raises:
        InputError: a removed key has a value other than its former default.
    """
    ignored: list[str] = []
    renamed: list[str] = []
    result = _current(loaded, (), path, ignored, renamed)
    if ignored:
        logger.info("%s: ignored keys that nucdet no longer has: %s", path, ", ".join(ignored))
    if renamed:
        logger.info("%s: keys that have another name now: %s", path, ", ".join(renamed))
    return result


def _current(
    node: dict[str, Any],
    place: tuple[str, ...],
    path: str | Path,
    ignored: list[str],
    renamed: list[str],
) -> dict[str, Any]:
    result = {}
    for name, value in node.items():
        key = ".".join((*place, str(name)))
        if key in REMOVED_KEYS:
            # a list in a yaml stands for a tuple
            found = tuple(value) if isinstance(value, list) else value
            if found != REMOVED_KEYS[key]:
                raise InputError(
                    f"{path}: {key} is {value!r}, but nucdet no longer has this key and always "
                    f"takes {REMOVED_KEYS[key]!r}; delete the line, or use the version of nucdet "
                    "that the file is from"
                )
            ignored.append(key)
        elif isinstance(value, dict):
            inner = _current(value, (*place, str(name)), path, ignored, renamed)
            # a node that held only removed keys is removed too
            if inner or not value:
                result[name] = inner
        elif key in RENAMED_KEYS:
            renamed.append(f"{key} (now {RENAMED_KEYS[key]})")
            result[RENAMED_KEYS[key]] = value
        else:
            result[name] = value
    return result
