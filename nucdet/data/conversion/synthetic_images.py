"""Draws microscope images of nuclei with masks that are exact to the pixel.

Absorbing stains follow Beer-Lambert (light * exp(-amount * color)), fluorescence adds light. Masks
are drawn before blur and noise, so that edges are where a person would draw them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from nucdet.data.image_kinds import BRIGHT_FIELD, FLUORESCENCE, STAINED_LIGHT, STAINED_TINTED
from nucdet.structures import CroppedMasks

_MAX_SHARED = 0.15  # share of a nucleus that may overlap others
_SEE_THROUGH = 0.2  # share of overlaps where both keep the pixels; else the first keeps them
_TRIES = 12  # places tried for a nucleus before it is skipped


@dataclass(frozen=True)
class Look:
    """Colors of a kind of microscopy, as light in [0, 1] or absorption per unit of stain (RGB).

    Attributes:
        background: light of the empty slide.
        nucleus: absorption of a nucleus; for fluorescence, its emission.
        tissue: the same for the surroundings of nuclei: cell bodies, fibres.
        tissue_cover: amount of cell bodies, 0 to 1.
    """

    background: tuple[float, float, float]
    nucleus: tuple[float, float, float]
    tissue: tuple[float, float, float]
    tissue_cover: float


LOOKS = {
    FLUORESCENCE: Look((0.04, 0.04, 0.04), (0.55, 0.55, 0.55), (0.05, 0.05, 0.05), 0.3),
    BRIGHT_FIELD: Look((0.88, 0.88, 0.88), (0.75, 0.75, 0.75), (0.30, 0.30, 0.30), 0.9),
    STAINED_LIGHT: Look((0.87, 0.86, 0.88), (0.80, 1.45, 0.45), (0.10, 0.32, 0.15), 0.8),
    STAINED_TINTED: Look((0.74, 0.66, 0.84), (0.95, 1.30, 0.25), (0.16, 0.20, 0.06), 0.6),
}


def draw_image(
    rng: np.random.Generator,
    size: int,
    look: str,
    nuclei: int | None = None,
    diameter: float | None = None,
) -> tuple[np.ndarray, CroppedMasks]:
    """Draw one image.

    Args:
        rng: source of all randomness; the same state draws the same image.
        size: height and width in pixels, at least 32.
        look: a key of ``LOOKS``.
        nuclei: how many to place; fewer if the image gets full. None: 10 to 40 for 256×256, with
            the same density for other sizes.
        diameter: mean diameter in pixels. None: 16 to 30, one value per image.

    Returns:
        uint8 (size, size, 3) RGB image, and the masks, of which many touch and some overlap.
    """
    if nuclei is None:
        nuclei = max(1, round(rng.integers(10, 41) * (size / 256) ** 2))
    diameter = diameter or rng.uniform(16, 30)
    masks = _place_nuclei(rng, size, nuclei, diameter)
    stain, tissue = _amounts(rng, masks, diameter, LOOKS[look].tissue_cover)
    _add_debris(rng, stain, tissue, diameter)
    edge = rng.uniform(0.6, 1.3) * diameter / 22  # focus
    stain, tissue = (cv2.GaussianBlur(a, (0, 0), edge) for a in (stain, tissue))
    light = _render(rng, LOOKS[look], stain, tissue, look == FLUORESCENCE, diameter)
    return _expose(rng, light, color=look in (STAINED_LIGHT, STAINED_TINTED)), masks


def _outline(rng: np.random.Generator, diameter: float) -> np.ndarray:
    """Points (72, 2), x and y around 0, of an ellipse with lobes, sometimes kidney-shaped."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    long = diameter / 2 * rng.lognormal(0, 0.18)
    short = long * rng.uniform(0.55, 1)
    radius = 1 / np.hypot(np.cos(angle) / long, np.sin(angle) / short)
    lobes = rng.uniform(0, 0.05) if rng.random() < 0.8 else rng.uniform(0.08, 0.16)
    for k in (2, 3, 4, 5):
        radius *= 1 + lobes * rng.normal() * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) / (k - 1)
    turned = angle + rng.uniform(0, 2 * np.pi)
    return np.stack([radius * np.cos(turned), radius * np.sin(turned)], axis=1)


def _place_nuclei(rng: np.random.Generator, size: int, count: int, diameter: float) -> CroppedMasks:
    """Place nuclei, isolated or in clumps, some cut by the border."""
    cover = np.zeros((size, size), dtype=np.uint8)
    offsets, crops, centers = [], [], []
    clumping = rng.uniform(0.1, 0.7)
    for _ in range(count):
        outline = _outline(rng, diameter)
        for _ in range(_TRIES):
            if centers and rng.random() < clumping:
                # next to another nucleus: about one diameter away they touch
                turn = rng.uniform(0, 2 * np.pi)
                step = diameter * rng.uniform(0.75, 1.05)
                center = centers[rng.integers(len(centers))] + step * np.array(
                    [np.cos(turn), np.sin(turn)]
                )
            else:
                center = rng.uniform(-0.02 * size, 1.02 * size, 2)
            placed = _fill(outline + center, size)
            if placed is None:
                continue
            (y, x), crop = placed
            below = cover[y : y + crop.shape[0], x : x + crop.shape[1]]
            if (below & crop).sum() <= _MAX_SHARED * crop.sum():
                if rng.random() >= _SEE_THROUGH:
                    crop &= below == 0
                below |= crop.view(np.uint8)
                offsets.append((y, x))
                crops.append(crop)
                centers.append(center)
                break
    return CroppedMasks.from_windows(np.array(offsets).reshape(-1, 2), crops, (size, size))


def _fill(points: np.ndarray, size: int) -> tuple[tuple[int, int], np.ndarray] | None:
    """(y, x) and tight crop of a filled outline inside the image; None if hardly any is inside."""
    low = np.floor(points.min(axis=0)).astype(int) - 1
    width, height = np.ceil(points.max(axis=0)).astype(int) + 2 - low
    window = np.zeros((height, width), dtype=np.uint8)
    # 4 fractional bits place the outline to a sixteenth of a pixel
    fixed = np.round((points - low) * 16).astype(np.int32)
    cv2.fillPoly(window, [fixed], 1, shift=4)
    x, y = low
    window = window[max(0, -y) : max(0, size - y), max(0, -x) : max(0, size - x)]
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(window))
    if width < 3 or height < 3:
        return None
    crop = window[top : top + height, left : left + width].astype(bool)
    return (max(0, y) + top, max(0, x) + left), crop


def _clouds(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Smooth noise (size, size) float32, mean 0, deviation 1, with features of ``scale`` pixels."""
    side = max(3, int(size / scale) + 2)
    coarse = rng.normal(size=(side, side)).astype(np.float32)
    field = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return (field - field.mean()) / (field.std() + 1e-6)


def _amounts(
    rng: np.random.Generator, masks: CroppedMasks, diameter: float, tissue_cover: float
) -> tuple[np.ndarray, np.ndarray]:
    """The amounts of nuclear stain and of tissue at each pixel, each float32 (H, W)."""
    size = masks.image_size[0]
    stain = np.zeros((size, size), dtype=np.float32)
    near = np.zeros((size, size), dtype=np.uint8)
    chromatin = 1 + 0.22 * _clouds(rng, size, diameter / 5) + 0.1 * _clouds(rng, size, 2)
    spread = rng.uniform(0.1, 0.35)
    for (y, x), crop in zip(masks.offsets, masks.crops, strict=True):
        window = slice(y, y + crop.shape[0]), slice(x, x + crop.shape[1])
        # thinner towards the rim
        depth = cv2.distanceTransform(np.pad(crop, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        dome = 0.75 + 0.25 * np.minimum(1, depth / (0.25 * diameter))
        stain[window] += crop * dome * chromatin[window] * rng.lognormal(-0.1, spread)
        near[window] |= crop.view(np.uint8)
    body = int(diameter * rng.uniform(0.4, 1.2)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (body, body))
    bodies = cv2.GaussianBlur(cv2.dilate(near, kernel).astype(np.float32), (0, 0), diameter / 8)
    fibres = np.clip(_clouds(rng, size, 2.5 * diameter), 0, None)
    tissue = bodies * rng.uniform(0.5, 1) + fibres * rng.uniform(0, 0.6)
    texture = 1 + 0.18 * _clouds(rng, size, diameter / 3)
    return np.clip(stain, 0, None), np.clip(tissue * texture, 0, None) * tissue_cover


def _add_debris(
    rng: np.random.Generator, stain: np.ndarray, tissue: np.ndarray, diameter: float
) -> None:
    """Add specks much smaller than a nucleus, and pale smears, which should not be detected."""
    size = len(stain)
    blur = diameter / 6
    for _ in range(rng.poisson(3 * (size / 256) ** 2)):
        center = rng.integers(0, size, 2)
        axes = np.maximum(1, diameter * rng.uniform(0.03, 0.1, 2))
        window, speck = _ellipse(rng, size, center, axes, (0.5, 1.2))
        np.maximum(stain[window], speck, out=stain[window])
    for _ in range(rng.poisson(1.5 * (size / 256) ** 2)):
        center = rng.integers(0, size, 2)
        axes = np.maximum(2, diameter * rng.uniform(0.3, 1.5, 2))
        # OpenCV's Gaussian ends at 4 sigma
        window, smear = _ellipse(rng, size, center, axes, (0.3, 0.8), math.ceil(4 * blur) + 1)
        tissue[window] += cv2.GaussianBlur(smear, (0, 0), blur)


def _ellipse(
    rng: np.random.Generator,
    size: int,
    center: np.ndarray,
    axes: np.ndarray,
    amount: tuple[float, float],
    margin: int = 0,
) -> tuple[tuple[slice, slice], np.ndarray]:
    """A filled ellipse of random rotation: its window with a margin, and its float32 pixels."""
    reach = int(axes.max()) + 1 + margin
    low, high = np.maximum(center - reach, 0), np.minimum(center + reach + 1, size)
    pixels = np.zeros((high - low)[::-1], np.float32)
    place, half = (center - low).tolist(), axes.astype(int).tolist()
    cv2.ellipse(pixels, place, half, rng.uniform(0, 180), 0, 360, rng.uniform(*amount), -1)
    return (slice(low[1], high[1]), slice(low[0], high[0])), pixels


def _render(
    rng: np.random.Generator,
    look: Look,
    stain: np.ndarray,
    tissue: np.ndarray,
    emits: bool,
    diameter: float,
) -> np.ndarray:
    """Light per pixel, float32 (H, W, 3), 1 = white, under an uneven lamp."""
    colors = (look.background, look.nucleus, look.tissue)
    background, nucleus, body = (np.float32(color) for color in colors)
    # every slide is stained slightly differently
    nucleus = nucleus * np.float32(rng.uniform(0.8, 1.2)) * rng.uniform(0.93, 1.07)
    size = len(stain)
    lamp = 1 + rng.uniform(0, 0.06) * _clouds(rng, size, size / 1.5)[..., None]
    if emits:
        # out-of-focus light around bright nuclei
        haze = cv2.GaussianBlur(stain, (0, 0), diameter / 2) * rng.uniform(0.02, 0.15)
        gain = rng.uniform(0.35, 1.3)
        light = (stain + haze)[..., None] * nucleus + tissue[..., None] * body
        return lamp * (background * rng.uniform(0.3, 1.8) + gain * light)
    return lamp * background * np.exp(-stain[..., None] * nucleus - tissue[..., None] * body)


def _expose(rng: np.random.Generator, light: np.ndarray, color: bool) -> np.ndarray:
    """Photon and read noise, then 8 bits; grey images have three equal channels."""
    channels = 3 if color else 1
    light = light[..., :channels]
    noise = rng.normal(size=light.shape) * rng.uniform(0.003, 0.012)
    shot = rng.normal(size=light.shape) * np.sqrt(np.clip(light, 0, None)) * rng.uniform(0, 0.02)
    image = np.clip(np.rint((light + noise + shot) * 255), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))
