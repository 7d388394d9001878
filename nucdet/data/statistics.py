"""Statistics of a data set, and the settings that follow from them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucdet.data.coco_entries import check_id, check_size
from nucdet.errors import InputError
from nucdet.files import read_json

_ANCHOR_BASES = (4, 8, 16, 32, 64)
LEVELS = 5  # of an FPN, p2 to p6, one size each
_ASPECT_RATIOS = (0.5, 1.0, 2.0)


@dataclass
class DatasetStatistics:
    """Counts and measures of one COCO JSON with M images and N instances.

    Attributes:
        image_sizes: number of images of each (height, width).
        kinds: number of images of each kind of image.
        per_image: (M,) instances in each image.
        areas: (N,) pixels of each instance, at the image's own resolution.
        box_sizes: (up to N, 2) width and height of boxes as the network sees them (resized); boxes
            without width or height are left out.
        input_size: shorter side to which images are resized; 0: they are not.
    """

    image_sizes: Counter[tuple[int, int]]
    kinds: Counter[str]
    per_image: np.ndarray
    areas: np.ndarray
    box_sizes: np.ndarray
    input_size: int = 0

    @property
    def diameters(self) -> np.ndarray:
        """(N,) diameter of the disc that has the instance's area, in pixels."""
        return 2 * np.sqrt(self.areas / math.pi)


def read_statistics(path: Path, input_size: int = 0) -> DatasetStatistics:
    """Collect the statistics of a COCO JSON; crowd regions do not count.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is not a COCO JSON, or lists no images.
    """
    if input_size < 0:
        raise InputError(f"--input-size {input_size}: expected a number of pixels, or 0 for none")
    content = read_json(path)
    try:
        images = {check_id(path, image): image for image in content["images"]}
        for image in images.values():
            check_size(path, image)
        if images:
            return _collect(images, content.get("annotations", []), input_size)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a COCO JSON of instances ({type(error).__name__}: {error}); "
            "expected what nucdet-convert writes"
        ) from None
    raise InputError(f"{path}: lists no images; expected at least one")


def _collect(
    images: dict[int, dict[str, Any]], annotations: list[dict[str, Any]], input_size: int
) -> DatasetStatistics:
    instances = [a for a in annotations if not a.get("iscrowd")]
    per_image = Counter(a["image_id"] for a in instances)
    scale = {
        i: input_size / min(image["height"], image["width"]) if input_size else 1.0
        for i, image in images.items()
    }
    sizes = [np.array(a["bbox"][2:], float) * scale[a["image_id"]] for a in instances]
    box_sizes = np.array(sizes).reshape(-1, 2)
    return DatasetStatistics(
        image_sizes=Counter((image["height"], image["width"]) for image in images.values()),
        kinds=Counter(image.get("kind", "unknown") for image in images.values()),
        per_image=np.array([per_image[i] for i in images]),
        areas=np.array([a["area"] for a in instances], float),
        box_sizes=box_sizes[(box_sizes > 0).all(1)],
        input_size=input_size,
    )


def anchor_fit(box_sizes: np.ndarray, base: int) -> np.ndarray:
    """How well the sizes and shapes of an FPN's anchors fit boxes.

    Args:
        box_sizes: (N, 2) width and height.
        base: anchor size of the finest level; it doubles with each level above.

    Returns:
        (N,) IoU of each box with the best anchor of the same center, over all sizes and the aspect
        ratios (height / width) 0.5, 1, 2.
    """
    best = np.zeros(len(box_sizes))
    for size in base * 2.0 ** np.arange(LEVELS):
        for ratio in _ASPECT_RATIOS:
            anchor = np.array([size / math.sqrt(ratio), size * math.sqrt(ratio)])
            shared = np.minimum(box_sizes, anchor).prod(1)
            best = np.maximum(best, shared / (box_sizes.prod(1) + anchor.prod() - shared))
    return best


def suggest_anchors(box_sizes: np.ndarray) -> tuple[list[int], dict[int, float]]:
    """Choose five anchor sizes, powers of two, by their mean :func:`anchor_fit`.

    Of those within 0.01 of the best, the coarsest is chosen: it also fits the few large nuclei, and
    on p2 (stride 4) anchors of 4 pixels are of little use.

    Returns:
        The sizes, one per FPN level, and the mean fit of every base that was compared.
    """
    fits = {base: float(anchor_fit(box_sizes, base).mean()) for base in _ANCHOR_BASES}
    base = max(b for b, fit in fits.items() if fit >= max(fits.values()) - 0.01)
    return [base * 2**level for level in range(LEVELS)], fits


def suggest_detections(per_image: np.ndarray) -> int:
    """A value for ``TEST.DETECTIONS_PER_IMAGE``: a fifth above the fullest image, in hundreds.

    Nuclei beyond this limit count as missed; a limit that is too high costs little.
    """
    return max(100, math.ceil(1.2 * int(per_image.max()) / 100) * 100)


def suggest(statistics: DatasetStatistics) -> dict[str, Any]:
    """Config keys and suggested values; none for anchors if there is no instance."""
    suggestions: dict[str, Any] = {}
    if len(statistics.box_sizes):
        sizes, _ = suggest_anchors(statistics.box_sizes)
        suggestions["MODEL.ANCHOR_GENERATOR.SIZES"] = [[size] for size in sizes]
    suggestions["TEST.DETECTIONS_PER_IMAGE"] = suggest_detections(statistics.per_image)
    return suggestions
