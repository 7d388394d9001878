"""Colors for matched, missed and false nuclei, and a palette that tells neighbors apart."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from nucdet.structures import CroppedMasks

# uint8 RGB; distinguishable with any color blindness, and visible on black, white and purple
MATCHED = (0, 225, 190)
MISSED = (255, 205, 0)
FALSE = (255, 60, 40)

# bright enough for a dark image, saturated enough for a white one
PALETTE = np.array(
    [
        (255, 75, 75),
        (0, 205, 255),
        (255, 215, 0),
        (80, 130, 255),
        (60, 215, 80),
        (255, 110, 220),
        (255, 150, 20),
        (175, 95, 255),
    ],
    np.uint8,
)

# Nuclei with at most this many background pixels between them count as neighbors
_GAP = 2
# A color of the palette is hard to see if its distance in RGB from the median color of the image or
# of its nuclei is less than this
_MIN_CONTRAST = 115


def color_by_neighbors(masks: CroppedMasks, image: np.ndarray) -> np.ndarray:
    """The colors of :func:`palette_by_neighbors`.

    Returns:
        (N, 3) uint8 RGB.

    Example:
        >>> row = CroppedMasks.from_label_map(np.array([[1, 1, 2, 0, 3, 3]]))
        >>> colors = color_by_neighbors(row, np.zeros((1, 6, 3), np.uint8))
        >>> len(np.unique(colors, axis=0))
        3
    """
    return PALETTE[palette_by_neighbors(masks, image)]


def palette_by_neighbors(masks: CroppedMasks, image: np.ndarray) -> np.ndarray:
    """Choose a color of the palette for each mask that differs from those of its neighbors.

    Neighbors are masks that overlap, touch or nearly touch. Masks with the most neighbors choose
    first (Welsh and Powell, 1967), each taking the least used of the remaining colors. A color
    similar to that of the image or of its nuclei (violet on a purple stain) is taken only if no
    other remains. A mask shares a color with a neighbor only if its neighbors use all eight.

    Args:
        masks: N masks of the image.
        image: uint8 (H, W, 3) RGB.

    Returns:
        (N,) int64, indices into :data:`PALETTE`.
    """
    unclear = _similar_to_image(masks, image)
    neighbors: dict[int, set[int]] = defaultdict(set)
    for a, b in _neighboring_pairs(masks).tolist():
        neighbors[a].add(b)
        neighbors[b].add(a)
    chosen = np.full(len(masks), -1)
    used = np.zeros(len(PALETTE), np.int64)
    for i in sorted(range(len(masks)), key=lambda i: -len(neighbors[i])):
        taken = np.zeros(len(PALETTE), np.int64)
        taken[[chosen[j] for j in neighbors[i] if chosen[j] >= 0]] = 1
        chosen[i] = np.lexsort((used, unclear, taken))[0]
        used[chosen[i]] += 1
    return chosen


def _similar_to_image(masks: CroppedMasks, image: np.ndarray) -> np.ndarray:
    """(8,) bool: which colors are close to the median color of the image or of its nuclei."""
    samples = [image[::3, ::3].reshape(-1, 3)]
    inside = [image[box][crop][::3] for box, crop in zip(masks.slices(), masks.crops, strict=True)]
    if sum(map(len, inside)):
        samples.append(np.concatenate(inside))
    medians = np.array([np.median(pixels, axis=0) for pixels in samples])
    distance = np.linalg.norm(PALETTE[:, None] - medians, axis=2)
    return distance.min(axis=1) < _MIN_CONTRAST


def _neighboring_pairs(masks: CroppedMasks) -> np.ndarray:
    """(K, 2) int64, indices of neighboring masks, each pair once."""
    reach = _GAP + 1
    labels = np.pad(masks.to_label_map(), reach)
    found = [np.zeros(0, np.int64)]
    base = len(masks) + 1

    def add(a: np.ndarray, b: np.ndarray) -> None:
        meet = (a != b) & (a > 0) & (b > 0)
        a, b = a[meet].astype(np.int64), b[meet].astype(np.int64)
        found.append(np.unique(np.minimum(a, b) * base + np.maximum(a, b)))

    # edge pixels are enough: no two pixels of two masks are closer than the closest edge pixels
    edges = np.flatnonzero(_edges(labels))
    values = labels.ravel()
    for dy in range(reach + 1):
        for dx in range(-reach, reach + 1):
            if dy or dx > 0:  # the other half of the window would give the same pairs
                add(values[edges], values[edges + (dy * labels.shape[1] + dx)])
    # where masks overlap, the label map shows only one of them
    inner = labels[reach:-reach, reach:-reach]
    for i, (box, crop) in enumerate(zip(masks.slices(), masks.crops, strict=True)):
        above = inner[box][crop]
        add(above, np.full_like(above, i + 1))
    pairs = np.unique(np.concatenate(found))
    return np.stack([pairs // base, pairs % base], axis=1) - 1


def _edges(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: the pixels of masks that have another label above, below, left or right."""
    edges = np.zeros(labels.shape, bool)
    rows, columns = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edges[1:] |= rows
    edges[:-1] |= rows
    edges[:, 1:] |= columns
    edges[:, :-1] |= columns
    return edges & (labels > 0)


def brighten(image: np.ndarray) -> np.ndarray:
    """Scale a dark image so that its 99.9th percentile becomes 255; others are unchanged.

    Fluorescence images are often so dark that they look black on a screen.
    """
    high = np.percentile(image, 99.9)
    if not 0 < high < 128:
        return image
    return np.clip(image * (255 / high), 0, 255).astype(np.uint8)
