"""Finds nuclei in the maps of center voting: pixels vote for centers, and votes are counted."""

from __future__ import annotations

import cv2
import numpy as np
from skimage.measure import label as connected_pieces

from nucdet.postprocessing.relief import split_at_saddles
from nucdet.postprocessing.separation import without_small

# foreground pixels without a nucleus join the nearest one if it is at most this many pixels away
_REACH = 3.0


def group_pixels(
    foreground: np.ndarray,
    offsets: np.ndarray,
    *,
    steps: int,
    sigma: float,
    depth: float,
    min_votes: float,
) -> np.ndarray:
    """Label each pixel of the foreground by the center that it votes for.

    A pixel votes for the position to which its offset points. If this position is foreground, the
    vote moves on by the offset there, ``steps`` times in total, which gathers the votes of
    elongated nuclei. The votes are counted for each pixel and the counts are smoothed; each hill of
    this map is a nucleus, where hills without a deep valley between them are one. Center voting
    follows Kendall et al. (CVPR 2018, arXiv:1705.07115) and Panoptic-DeepLab (Cheng et al., CVPR
    2020, arXiv:1911.10194); the steps follow Cellpose (Stringer et al., Nature Methods 2021).

    Args:
        foreground: (H, W) bool.
        offsets: (2, H, W) float32, (dy, dx) in pixels from the pixel to the center; not used in
            the background.
        steps: how often a vote is moved.
        sigma: standard deviation, in pixels, of the Gaussian that smooths the counts.
        depth: how deep the valley between two hills must be, as a share of the lower hill.
        min_votes: nuclei with fewer pixels are dropped.

    Returns:
        (H, W) int32, 1 … n for the nuclei, 0 elsewhere. A nucleus is one 4-connected piece plus
        the foreground pixels of no other nucleus within 3 pixels of it.
    """
    ys, xs = np.nonzero(foreground)
    if not len(ys):
        return np.zeros(foreground.shape, np.int32)
    places = _follow(foreground, offsets, ys, xs, steps)
    votes = np.bincount(places, minlength=foreground.size).astype(np.float32)
    hills = cv2.GaussianBlur(votes.reshape(foreground.shape), (0, 0), sigma)
    # counts below a tenth are only the tails of the Gaussian
    centers = split_at_saddles(hills, hills > 0.1, depth)
    labels = np.zeros(foreground.shape, np.int32)
    labels[ys, xs] = centers.ravel()[places]
    labels = without_small(labels, min_votes)
    return without_small(_one_piece_each(labels, foreground), min_votes)


def _follow(
    foreground: np.ndarray, offsets: np.ndarray, ys: np.ndarray, xs: np.ndarray, steps: int
) -> np.ndarray:
    """The position that each of M pixels votes for, as a flat index: (M,) int64."""
    height, width = foreground.shape
    dy, dx = offsets[0].ravel(), offsets[1].ravel()
    inside = foreground.ravel()
    y, x = ys.astype(np.float32), xs.astype(np.float32)
    place = ys * width + xs
    for _ in range(steps):
        moves = inside[place]  # a vote that has left the foreground stays where it is
        y[moves] += dy[place[moves]]
        x[moves] += dx[place[moves]]
        np.clip(y, 0, height - 1, out=y)
        np.clip(x, 0, width - 1, out=x)
        place = np.rint(y).astype(np.int64) * width + np.rint(x).astype(np.int64)
    return place


def _one_piece_each(labels: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Keep the largest piece of each label; foreground pixels near one join the nearest."""
    pieces = connected_pieces(labels, connectivity=1)
    sizes = np.bincount(pieces.ravel())
    label_of = np.zeros(len(sizes), np.int32)
    label_of[pieces.ravel()] = labels.ravel()
    # sorted by size, the last piece of each label is its largest
    largest = np.zeros(labels.max() + 1, np.int64)
    order = np.argsort(sizes, kind="stable")
    largest[label_of[order]] = order
    kept = largest[label_of] == np.arange(len(sizes))
    labels = np.where(kept[pieces], labels, 0)
    free = foreground & (labels == 0)
    if not free.any() or not labels.any():
        return labels
    return np.where(free, nearest_labels(labels, _REACH), labels)


def nearest_labels(labels: np.ndarray, reach: float) -> np.ndarray:
    """The label of the nearest labelled pixel, 0 where none is within ``reach`` pixels.

    Args:
        labels: (H, W) int32, at least one pixel above 0.
        reach: pixels, Euclidean.

    Returns:
        (H, W) int32.
    """
    outside = (labels == 0).view(np.uint8)
    distance, index = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label_of = np.zeros(index.max() + 1, np.int32)
    label_of[index[labels > 0]] = labels[labels > 0]
    return np.where(distance <= reach, label_of[index], 0).astype(np.int32)
