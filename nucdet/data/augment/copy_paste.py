"""Copy-paste of nuclei (Ghiasi et al., CVPR 2021), with many copies that touch other nuclei."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from nucdet.data.augment.sample import Sample
from nucdet.structures import CroppedMasks

# Pixels of background that are copied with a nucleus, for a soft edge
_MARGIN = 3
_EDGE_SIGMA = 1.0
# A copy is left out if more than this share of it would cover other nuclei
_LARGEST_OVERLAP = 0.15
# Share of the median area below which a nucleus is not copied
_SMALLEST = 0.25
_TRIES = 4


def paste_nuclei(target: Sample, source: Sample, max_fraction: float, touching: float) -> Sample:
    """Paste nuclei of one image into another one, or into itself.

    Each copy is turned by a multiple of 90° and mirrored at random. The brightness of copies from
    another image is shifted by the difference of the backgrounds.

    Args:
        target: is not changed.
        source: its nuclei are copied, except those cut by the edge of the image and those far
            smaller than most (debris, visible parts of nuclei that lie under others).
        max_fraction: up to this share of the source's nuclei are copied, but at least one.
        touching: share of the copies that are moved until they touch a nucleus; the others do not
            overlap any.

    Returns:
        The image with the copies on top: the nuclei below lose the covered pixels.
    """
    sizes = np.array([crop.shape for crop in source.masks.crops]).reshape(-1, 2)
    ends = source.masks.offsets + sizes
    whole = ((source.masks.offsets > 0) & (ends < source.masks.image_size)).all(axis=1)
    areas = source.masks.areas
    large = areas >= _SMALLEST * np.median(areas) if len(areas) else areas > 0
    candidates = np.flatnonzero(whole & large)
    count = max(1, round(np.random.uniform(0, max_fraction) * len(source.masks)))
    chosen = np.random.permutation(candidates)[:count]
    shift = 0.0 if source is target else background_color(target) - background_color(source)
    canvas = _Canvas(target)
    for index in chosen.tolist():
        piece = _cut(source, index, shift)
        corner = None
        if np.random.rand() < touching:
            corner = canvas.beside_another(piece)
        if corner is None:
            corner = canvas.free_place(piece)
        if corner is not None:
            canvas.paste(piece, *corner)
    return canvas.sample()


@dataclass(frozen=True)
class _Piece:
    """A nucleus with _MARGIN pixels of background: float32 (h, w, 3), bool (h, w), its class."""

    pixels: np.ndarray
    mask: np.ndarray
    label: int


def _cut(source: Sample, index: int, shift: np.ndarray | float) -> _Piece:
    crop, (top, left) = source.masks.crops[index], source.masks.offsets[index]
    height, width = source.masks.image_size
    rows = np.arange(top - _MARGIN, top + crop.shape[0] + _MARGIN).clip(0, height - 1)
    columns = np.arange(left - _MARGIN, left + crop.shape[1] + _MARGIN).clip(0, width - 1)
    pixels = source.image[np.ix_(rows, columns)] + np.float32(shift)
    mask = np.pad(crop, _MARGIN)
    turns, mirrored = np.random.randint(4), np.random.rand() < 0.5
    pixels, mask = np.rot90(pixels, turns), np.rot90(mask, turns)
    if mirrored:
        pixels, mask = pixels[::-1], mask[::-1]
    return _Piece(pixels, mask, int(source.classes[index]))


def background_color(sample: Sample) -> np.ndarray:
    """(3,) median color outside the nuclei, or of all pixels if nuclei cover everything."""
    outside = sample.masks.to_label_map()[::4, ::4] == 0
    pixels = sample.image[::4, ::4]
    return np.median(pixels[outside] if outside.any() else pixels.reshape(-1, 3), axis=0)


class _Canvas:
    """An image into which pieces are pasted."""

    def __init__(self, target: Sample):
        self.target = target
        self.image = target.image.copy()
        self.height, self.width = target.image.shape[:2]
        self.occupied = target.masks.to_label_map() > 0
        self.pasted = np.zeros((self.height, self.width), np.int32)
        self.labels: list[int] = []

    def free_place(self, piece: _Piece) -> tuple[int, int] | None:
        """A random (y, x) at which the piece covers no nucleus; None if none is found."""
        free_h, free_w = self.height - piece.mask.shape[0], self.width - piece.mask.shape[1]
        if free_h < 0 or free_w < 0:
            return None
        for _ in range(_TRIES):
            corner = np.random.randint(free_h + 1), np.random.randint(free_w + 1)
            if self._covers(piece, *corner) == 0:
                return corner
        return None

    def beside_another(self, piece: _Piece) -> tuple[int, int] | None:
        """The (y, x) at which the piece, approaching a nucleus from a random side, first touches
        one; None if there is no such place."""
        masks = self.target.masks
        if not len(masks):
            return None
        neighbor = np.random.randint(len(masks))
        size = np.array(masks.crops[neighbor].shape)
        start = masks.offsets[neighbor] + size / 2 - np.array(piece.mask.shape) / 2
        angle = np.random.uniform(0, 2 * math.pi)
        direction = np.array([math.sin(angle), math.cos(angle)])
        farthest = (math.hypot(*size) + math.hypot(*piece.mask.shape)) / 2
        for distance in range(math.ceil(farthest), 0, -1):
            y, x = np.round(start + distance * direction).astype(int).tolist()
            if not (
                0 <= y <= self.height - piece.mask.shape[0]
                and 0 <= x <= self.width - piece.mask.shape[1]
            ):
                continue
            covered = self._covers(piece, y, x)
            if covered:
                acceptable = covered <= _LARGEST_OVERLAP * np.count_nonzero(piece.mask)
                return (y, x) if acceptable else None
        return None

    def _covers(self, piece: _Piece, y: int, x: int) -> int:
        height, width = piece.mask.shape
        return np.count_nonzero(self.occupied[y : y + height, x : x + width] & piece.mask)

    def paste(self, piece: _Piece, y: int, x: int) -> None:
        """Lay the piece on top, with its top left corner at (y, x)."""
        height, width = piece.mask.shape
        window = slice(y, y + height), slice(x, x + width)
        share = cv2.GaussianBlur(piece.mask.astype(np.float32), (0, 0), _EDGE_SIGMA)[..., None]
        mixed = share * piece.pixels + (1 - share) * self.image[window]
        self.image[window] = np.clip(mixed, 0, 255).round()
        self.labels.append(piece.label)
        self.pasted[window][piece.mask] = len(self.labels)
        self.occupied[window] |= piece.mask

    def sample(self) -> Sample:
        """The current image; nuclei that are completely covered are removed."""
        if not self.labels:
            return self.target
        old = self.target.masks.outside(self.pasted > 0)
        left = old.nonempty().numpy()
        present = np.flatnonzero(np.bincount(self.pasted.ravel())[1:])
        classes = np.array(self.labels, np.int64)[present]
        return Sample(
            self.image,
            CroppedMasks.cat([old[left], CroppedMasks.from_label_map(self.pasted)]),
            np.concatenate([self.target.classes[left], classes]),
        )
