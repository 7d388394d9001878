"""Run-length codes of masks as text: COCO's compressed strings and Kaggle's "start length" pairs.

All masks of an image are coded together, from and to :class:`~nucdet.structures.runs.Runs`.

COCO's format is that of pycocotools' ``maskApi.c`` (``rleToString``, ``rleFrString``): counts of
background and foreground pixels in turn, from the fourth on written as the difference to the count
two before it, each number in 5-bit groups, lowest first, one character per group.
Kaggle's format is that of the 2018 Data Science Bowl (https://www.kaggle.com/c/data-science-bowl-2018,
"Evaluation"): pairs of first pixel (from 1) and length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nucdet.errors import InputError
from nucdet.structures.runs import Runs, first_of_each, position_in_group

# 8 groups of 5 bits hold any count of an image with fewer than 2^39 pixels
_MAX_GROUPS = 8


def encode_coco(runs: Runs, count: int, image_size: tuple[int, int]) -> list[str]:
    """Runs of ``count`` masks as COCO's compressed strings, the same bytes as from pycocotools.

    Args:
        runs: column-major runs.
        count: number of masks, those without runs included.
        image_size: (height, width).
    """
    values, sizes = _counts_of_runs(runs, count, image_size[0] * image_size[1])
    index = position_in_group(sizes)
    delta = np.flatnonzero(index > 2)
    rest = values.copy()
    rest[delta] -= values[delta - 2]

    groups, used, more = [], [], np.ones(len(rest), dtype=bool)
    while more.any():
        used.append(more)
        low = rest & 31
        rest = rest >> 5
        # the top bit of the last group is the sign, so stop once the rest is only that sign
        more = np.where(low & 16, rest != -1, rest != 0)
        groups.append((low + 32 * more + 48).astype(np.uint8))
    if not groups:
        return []
    used = np.stack(used, axis=1)
    text = np.stack(groups, axis=1)[used].tobytes().decode("ascii")
    ends = np.cumsum(np.add.reduceat(used.sum(axis=1), first_of_each(sizes))).tolist()
    return [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def _counts_of_runs(runs: Runs, count: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """COCO's counts of all masks, one after the other, and how many each mask has."""
    of_mask = np.bincount(runs.owner, minlength=count)
    # borders of a mask: 0, start, end, start, end, …, number of pixels
    first = first_of_each(2 * of_mask + 2)
    borders = np.empty(2 * len(runs.owner) + 2 * count, dtype=np.int64)
    borders[first] = 0
    borders[first + 2 * of_mask + 1] = pixels
    slot = first[runs.owner] + 1 + 2 * position_in_group(of_mask)
    borders[slot] = runs.start
    borders[slot + 1] = runs.end

    values = np.diff(borders, append=0)
    tail = first + 2 * of_mask
    keep = np.ones(len(values), dtype=bool)
    keep[tail + 1] = False  # the step from one mask's last border to the next mask's first
    keep[tail] = values[tail] > 0  # a mask that ends with foreground has no count after it
    return values[keep], 2 * of_mask + keep[tail]


def decode_coco(rles: Sequence[dict[str, Any]], image_size: tuple[int, int]) -> Runs:
    """Column-major runs of COCO RLE dicts, compressed ("counts" str or bytes) or not (a list).

    Args:
        rles: ``{"size": [height, width], "counts": …}``, one per mask.
        image_size: (height, width) that each ``size`` must be.

    Raises:
        InputError: a different size, invalid characters, counts that do not fill the image.
    """
    compressed: dict[int, bytes] = {}
    plain: dict[int, np.ndarray] = {}
    for i, rle in enumerate(rles):
        if not isinstance(rle, dict) or "size" not in rle or "counts" not in rle:
            raise InputError(f"mask {i}: no COCO RLE; expected an object with 'size' and 'counts'")
        if np.ravel(rle["size"]).tolist() != list(image_size):
            raise InputError(
                f"mask {i}: its RLE is for size {rle['size']} (height, width), "
                f"but the image has {list(image_size)}; use the masks of this image"
            )
        counts = rle["counts"]
        if isinstance(counts, (str, bytes)):
            text = isinstance(counts, str)
            compressed[i] = counts.encode("utf-8", "surrogatepass") if text else counts
        else:
            plain[i] = _plain_counts(counts, i)

    owner, values = _numbers_of_strings(compressed)
    values = _undo_differences(owner, values, len(rles))
    if plain:
        lengths = [len(counts) for counts in plain.values()]
        owner = np.concatenate([owner, np.repeat(list(plain), lengths)])
        values = np.concatenate([values, *plain.values()])
        order = np.argsort(owner, kind="stable")
        owner, values = owner[order], values[order]
    return _runs_of_counts(owner, values, len(rles), image_size)


def _plain_counts(counts: Any, mask: int) -> np.ndarray:
    try:
        array = np.asarray(counts)
    except (ValueError, OverflowError):  # lists of different lengths
        array = np.array(None)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(
            f"mask {mask}: 'counts' of an RLE is {type(counts).__name__}; "
            "expected text or a list of whole numbers"
        )
    return array.astype(np.int64)


def _numbers_of_strings(strings: dict[int, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """All numbers in all strings: the mask that each belongs to, and its value as stored."""
    codes = np.frombuffer(b"".join(strings.values()), dtype=np.uint8).astype(np.int64) - 48
    owner = np.repeat(np.array(list(strings), dtype=np.int64), [len(s) for s in strings.values()])
    strange = np.flatnonzero((codes < 0) | (codes > 63))
    if len(strange):
        raise InputError(
            f"mask {owner[strange[0]]}: character {chr(codes[strange[0]] + 48)!r} in its RLE; "
            "expected COCO's compressed counts (characters '0' to 'o')"
        )
    last = codes < 32
    cut_off = np.flatnonzero(~last & (np.diff(owner, append=-1) != 0))
    if len(cut_off):
        raise InputError(
            f"mask {owner[cut_off[0]]}: its RLE breaks off within a number; the text was cut short"
        )
    final = np.flatnonzero(last)
    groups = np.diff(final, prepend=-1)
    too_long = np.flatnonzero(groups > _MAX_GROUPS)
    if len(too_long):
        raise InputError(
            f"mask {owner[final[too_long[0]]]}: a number of {groups[too_long[0]]} characters in "
            f"its RLE; expected at most {_MAX_GROUPS}"
        )
    shifted = (codes & 31) << (5 * position_in_group(groups))
    values = np.add.reduceat(shifted, first_of_each(groups))
    negative = (codes[final] & 16) != 0
    return owner[final], values - (negative.astype(np.int64) << (5 * groups))


def _undo_differences(owner: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Restore the counts: from index 3 of a mask on, each is stored as the difference to the count
    two before it."""
    sizes = np.bincount(owner, minlength=count)
    index, first = position_in_group(sizes), first_of_each(sizes)[owner]
    result = values.copy()
    for chain in ((index % 2 == 1), (index % 2 == 0) & (index > 0)):
        total = np.cumsum(np.where(chain, values, 0))
        # index 0 is in neither chain, so the total there is that of all masks before
        result[chain] = (total - total[first])[chain]
    return result


def _runs_of_counts(
    owner: np.ndarray, values: np.ndarray, count: int, image_size: tuple[int, int]
) -> Runs:
    pixels = image_size[0] * image_size[1]
    strange = np.flatnonzero((values < 0) | (values > pixels))
    if len(strange):
        raise InputError(
            f"mask {owner[strange[0]]}: a run of {values[strange[0]]} pixels in its RLE; "
            f"expected 0 to {pixels}, the image's pixels"
        )
    sizes = np.bincount(owner, minlength=count)
    borders = np.concatenate([[0], np.cumsum(values)])
    first = first_of_each(sizes)
    covered = borders[first + sizes] - borders[first]
    wrong = np.flatnonzero(covered != pixels)
    if len(wrong):
        raise InputError(
            f"mask {wrong[0]}: its RLE covers {covered[wrong[0]]} pixels, but the image has "
            f"{pixels} ({image_size[0]} high, {image_size[1]} wide); use the masks of this image"
        )
    foreground = (position_in_group(sizes) % 2 == 1) & (values > 0)
    base = borders[first][owner]
    return Runs(
        owner[foreground], (borders[:-1] - base)[foreground], (borders[1:] - base)[foreground]
    )


def encode_pairs(runs: Runs, count: int) -> list[str]:
    """Runs of ``count`` masks as "start length start length …", starts counted from 1."""
    numbers = np.stack([runs.start + 1, runs.end - runs.start], axis=1).ravel()
    words = [str(number) for number in numbers.tolist()]
    ends = np.cumsum(2 * np.bincount(runs.owner, minlength=count)).tolist()
    return [" ".join(words[a:b]) for a, b in zip([0, *ends], ends, strict=False)]


def decode_pairs(texts: Sequence[str], image_size: tuple[int, int]) -> Runs:
    """Runs of "start length start length …", starts counted from 1; an empty text has no run.

    Args:
        texts: one per mask.
        image_size: (height, width).

    Raises:
        InputError: an odd count of numbers, numbers that are not integers, a start or length below
            1, a run beyond the image, runs that overlap or are not in ascending order.
    """
    numbers = [_parse(text, i) for i, text in enumerate(texts)]
    runs_of_mask = np.array([len(n) // 2 for n in numbers], dtype=np.int64)
    owner = np.repeat(np.arange(len(texts)), runs_of_mask)
    pairs = np.concatenate([np.zeros(0, dtype=np.int64), *numbers]).reshape(-1, 2)
    start, length = pairs[:, 0], pairs[:, 1]
    end = start - 1 + length
    pixels = image_size[0] * image_size[1]
    mixed_up = np.zeros(len(owner), dtype=bool)
    mixed_up[1:] = (owner[1:] == owner[:-1]) & (start[1:] <= end[:-1])
    complaints = (
        (start < 1, "starts count from 1"),
        (length < 1, "lengths are at least 1"),
        ((start > pixels) | (length > pixels) | (end > pixels), "it goes beyond the image, which "
         f"has {pixels} pixels ({image_size[0]} high, {image_size[1]} wide)"),
        (mixed_up, "runs must be in ascending order and may not overlap"),
    )  # fmt: skip
    for wrong, expected in complaints:
        if wrong.any():
            at = int(np.argmax(wrong))
            raise InputError(f"mask {owner[at]}: run '{start[at]} {length[at]}': {expected}")
    return Runs(owner, start - 1, end)


def _parse(text: str, mask: int) -> np.ndarray:
    if not isinstance(text, str):
        raise InputError(f"mask {mask}: found {text!r}; expected text like '1 3 10 5'")
    words = text.split()
    try:
        numbers = np.array([int(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError):
        raise InputError(
            f"mask {mask}: found {text[:40]!r}; expected whole numbers, start and length in turn"
        ) from None
    if len(numbers) % 2:
        raise InputError(
            f"mask {mask}: found {len(numbers)} numbers; expected pairs of start and length"
        )
    return numbers
