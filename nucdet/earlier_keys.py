"""Keys that nucdet once had or named otherwise, so that configs of earlier versions still load."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from nucdet.errors import InputError

logger = logging.getLogger(__name__)

# key -> the default that it had, which is what nucdet does now
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

# key -> what the last part of it is called now
RENAMED_KEYS = {"INPUT.AUGMENTATION.COLOURISE_PROB": "COLORIZE_PROB"}


def with_current_keys(loaded: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """The content of a config file of an earlier version, in the keys that nucdet has now.

    What a training dumps or a model ships with names every key. Where a removed one has the default
    that it always had, it says nothing, and is left out. A renamed one gets its name of today. The
    log has a line for either.

    Args:
        loaded: nested mappings, as :func:`nucdet.config_files.read_config_file` returns them.
        path: of the file, for messages.

    Raises:
        InputError: a removed key asks for something else than its default.
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
            # a node of nothing but removed keys goes with them
            if inner or not value:
                result[name] = inner
        elif key in RENAMED_KEYS:
            renamed.append(f"{key} (now {RENAMED_KEYS[key]})")
            result[RENAMED_KEYS[key]] = value
        else:
            result[name] = value
    return result
