"""Converts stored values of any depth to the 8 bits that a network sees: INPUT.NORMALIZE.

A rule determines two limits from the whole stored image, the values that become 0 and 255. Values
between them are scaled linearly, in one step, so that no depth loses levels. All windows of an
image share its limits, and so do its color channels, which preserves hues. A constant image becomes
black. NaN and infinity become the lower limit. For images of more than 4 million pixels, the limits
come from a sample of 64 evenly spread windows, whether the file is read whole or by windows.

``"none"``
    8-bit values do not change. Deeper images are scaled so that their 0.1 and 99.9 percentiles
    become 0 and 255, even a 16-bit image whose values would fit into 8 bits: 12-bit cameras fill
    16-bit files with small numbers, and a rule that changes at 255 would treat two frames of one
    film differently.
``"percentile"``
    Images of every depth are stretched, so that the network sees the same whether the image is
    stored as 8 bits, 16 bits, integers or floats of any scale and offset. Three details make this
    safe for microscopy:

    - The limits are measured after a 3 × 3 median filter, so hot and dead pixels have no effect.
    - 0.2 % of the pixels lie above the limits, and as many below, but never more than 1,000. With
      a fixed share only, a few nuclei in a large dark image would all lie above the limit, and the
      noise of the background would be stretched to the full range. As both shares are equal, an
      inverted image gives the inverted result.
    - The limits differ by at least 16 × the noise (the mean distance from the filtered image), and
      for integers by at least 8 levels, so an image that shows only background stays faint. If this
      widens the limits, the median of the image keeps its grey level.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from nucdet.errors import InputError

RULES = ("none", "percentile")

# (rows, columns)
Box = tuple[slice, slice]

WHOLE_PIXELS = 1 << 22  # images of up to this many pixels are measured as a whole
# sample of a larger image: number of windows along each axis, and their side
_SAMPLES, _SAMPLE_SIDE = 8, 256
_SHARE, _MOST_OUTSIDE = 0.002, 1000
_NOISES, _LEVELS = 16, 8


def check_rule(rule: str) -> str:
    """The rule itself; raises InputError if its name is unknown."""
    if rule not in RULES:
        raise InputError(f"INPUT.NORMALIZE is {rule!r}, expected one of {', '.join(RULES)}")
    return rule


def sample_boxes(size: tuple[int, int]) -> list[Box]:
    """The windows of an image of (height, width) from which its limits are determined."""
    height, width = size
    if height * width <= WHOLE_PIXELS:
        return [(slice(0, height), slice(0, width))]
    side = _SAMPLE_SIDE
    rows, columns = (
        np.linspace(0, max(0, length - side), _SAMPLES).astype(int).tolist() for length in size
    )
    return [
        (slice(y, min(y + side, height)), slice(x, min(x + side, width)))
        for y in rows
        for x in columns
    ]


def intensity_limits(pixels: np.ndarray, rule: str = "none") -> tuple[float, float] | None:
    """The values of a whole image that become 0 and 255.

    Args:
        pixels: (H, W) or (H, W, 3), any dtype.
        rule: one of RULES, see the module's docstring.

    Returns:
        (low, high), or None if the values need no scaling.
    """
    height, width = pixels.shape[:2]
    windows = [pixels[box] for box in sample_boxes((height, width))]
    return limits_of_windows(windows, height * width, rule)


def limits_of_windows(
    windows: Sequence[np.ndarray], pixels: int, rule: str
) -> tuple[float, float] | None:
    """As :func:`intensity_limits`, from the windows of :func:`sample_boxes`.

    Args:
        windows: (h, w) or (h, w, 3) each, all of the same dtype.
        pixels: number of pixels of the image.
        rule: one of RULES.
    """
    if rule == "percentile":
        return _stretch_limits(windows, pixels)
    if windows[0].dtype in (bool, np.uint8):
        return None
    values = np.concatenate([window.ravel() for window in windows])
    finite = values[np.isfinite(values)].astype(_exact_dtype(values.dtype))
    if not finite.size:
        return 0.0, 0.0
    low, high = np.percentile(finite, (0.1, 99.9))
    if low == high:  # nearly constant: let the few other pixels show
        low, high = finite.min(), finite.max()
    return float(low), float(high)


def to_rgb8(pixels: np.ndarray, limits: tuple[float, float] | None) -> np.ndarray:
    """Stored values to uint8 (H, W, 3).

    Args:
        pixels: (H, W) or (H, W, 3) RGB, any dtype.
        limits: of the whole image that contains the pixels, see :func:`intensity_limits`.
    """
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if limits is not None:
        pixels = _scale_to_8_bit(pixels, *limits)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(pixels)


def normalized(pixels: np.ndarray, rule: str = "none") -> np.ndarray:
    """Convert a whole image, (H, W) or (H, W, 3) of any dtype, to uint8 (H, W, 3) by a rule."""
    return to_rgb8(pixels, intensity_limits(pixels, rule))


def _stretch_limits(windows: Sequence[np.ndarray], pixels: int) -> tuple[float, float]:
    is_integer = windows[0].dtype.kind in "ui"
    windows, known, shift = _filterable(windows)
    filtered = [cv2.medianBlur(window, 3) for window in windows]
    share = min(_SHARE, _MOST_OUTSIDE / pixels)
    ordered = _order_statistics(filtered, known, (share, 0.5, 1 - share))
    if ordered is None:
        return 0.0, 0.0
    low, median, high = ordered
    if low == high:  # nearly constant: let the few other pixels show
        low, _, high = _order_statistics(windows, known, (0, 0.5, 1))
    span = high - low
    if span > 0:
        noise = _mean_distance(windows, filtered, known, span)
        extra = max(_NOISES * noise, _LEVELS if is_integer else 0, span) - span
        below = min(max((median - low) / span, 0), 1)
        low, high = low - below * extra, high + (1 - below) * extra
    return low + shift, high + shift


def _filterable(
    windows: Sequence[np.ndarray],
) -> tuple[list[np.ndarray], list[np.ndarray | slice], float]:
    """Windows of a dtype that OpenCV can filter, masks of finite values, and an offset to add."""
    everywhere = [slice(None)] * len(windows)
    if windows[0].dtype == bool:
        return [window.astype(np.uint8) * 255 for window in windows], everywhere, 0.0
    if windows[0].dtype in (np.uint8, np.uint16):
        return [np.ascontiguousarray(window) for window in windows], everywhere, 0.0
    known = [np.isfinite(window) for window in windows]
    finite = [window[mask].astype(np.float64) for window, mask in zip(windows, known, strict=True)]
    shift = float(np.median(np.concatenate(finite))) if any(part.size for part in finite) else 0.0
    # centered on the median, where float32 is finest, so that a huge value costs no precision
    limit = np.finfo(np.float32).max
    result = [np.zeros(window.shape, np.float32) for window in windows]
    for part, mask, values in zip(result, known, finite, strict=True):
        part[mask] = np.clip(values - shift, -limit, limit)
    return result, known, shift


def _order_statistics(
    windows: Sequence[np.ndarray],
    known: Sequence[np.ndarray | slice],
    shares: Sequence[float],
) -> list[float] | None:
    """The quantiles at these shares, without interpolation; None if no value is finite."""
    if windows[0].dtype == np.float32:
        values = np.concatenate([w[mask].ravel() for w, mask in zip(windows, known, strict=True)])
        if not values.size:
            return None
        places = [round(share * (values.size - 1)) for share in shares]
        return np.partition(values, places)[places].astype(float).tolist()
    levels = 256 if windows[0].dtype == np.uint8 else 1 << 16
    counts = np.zeros(levels)
    for window in windows:
        flat = window.reshape(len(window), -1)
        counts += cv2.calcHist([flat], [0], None, [levels], [0, levels]).ravel()
    total = np.cumsum(counts)
    places = [round(share * (total[-1] - 1)) for share in shares]
    return np.searchsorted(total, places, side="right").astype(float).tolist()


def _mean_distance(
    windows: Sequence[np.ndarray],
    filtered: Sequence[np.ndarray],
    known: Sequence[np.ndarray | slice],
    largest_distance: float,
) -> float:
    """Mean of |window - filtered|, where each value is limited to ``largest_distance``."""
    total = count = 0.0
    for window, smooth, mask in zip(windows, filtered, known, strict=True):
        distance = np.minimum(cv2.absdiff(window, smooth)[mask], largest_distance)
        total, count = total + distance.sum(dtype=np.float64), count + distance.size
    return total / count


def _exact_dtype(dtype: np.dtype) -> type:
    return np.float64 if dtype.itemsize > 2 else np.float32


def _scale_to_8_bit(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    if low == high:
        return np.zeros(pixels.shape, np.uint8)
    if pixels.dtype not in (np.uint8, np.uint16):
        return _scaled(pixels.astype(np.float64), low, high)
    levels = _scaled(np.arange(np.iinfo(pixels.dtype).max + 1, dtype=np.float64), low, high)
    return cv2.LUT(pixels, levels) if pixels.dtype == np.uint8 else levels[pixels]


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    values = np.where(np.isfinite(values), values, low)
    return np.rint(np.clip((values - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)
