#!/usr/bin/env python
"""Gather images without nuclei to train report 000's nucleus filter, as a substitute for CIFAR-10.

    python benchmarks/arbitrary_images.py --output datasets/arbitrary [FOLDER …]

Writes scikit-image's photographs, synthetic textures, and the images in the folders. Images are
resized to a shorter side of 32 pixels, so that a crop of 32 pixels shows a whole object, as in
CIFAR-10; those with transparency are first cut to the object and get a synthetic background. Any
photographs can be used. Debian has 770 of animals, plants, food and vehicles (GPL-2), and 70,000
grey ones of clothes, of 28 pixels (Fashion-MNIST, MIT; files with many images each, in the format
of MNIST):

    apt-get download tuxpaint-stamps-default dataset-fashion-mnist
    for file in *.deb; do dpkg -x $file debian; done
    python benchmarks/arbitrary_images.py --output datasets/arbitrary debian

Set MODEL.NUCLEUS_FILTER.OTHERS_FOLDER to the output folder; every fifth image in it is used only
for evaluation.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import skimage

from nucdet.arguments import command_parser
from nucdet.errors import InputError, run_tool

# files in skimage/data that show no cells and are not single-color drawings
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png",
    "coins.png", "color.png", "grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg",
    "moon.png", "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip
TEXTURES = 60
SIDE = 32


def texture(rng: np.random.Generator) -> np.ndarray:
    """uint8 (SIDE, SIDE, 3): noise of one to three scales, maybe with stripes, in two colors."""
    total = np.zeros((SIDE, SIDE))
    for _ in range(rng.integers(1, 4)):
        sigma = np.exp(rng.uniform(np.log(0.7), np.log(12)))
        noise = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), sigma)
        total += noise / noise.std()
    if rng.random() < 0.4:
        y, x = np.mgrid[:SIDE, :SIDE]
        angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(4), np.log(24)))
        total += 2 * np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    if rng.random() < 0.3:
        total = np.sign(total)  # flat patches with sharp edges
    share = (total - total.min()) / max(np.ptp(total), 1e-6)
    dark, bright = rng.uniform(0, 255, (2, 3))
    return (dark + share[..., None] * (bright - dark)).astype(np.uint8)


def on_background(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Resize a grey, BGR or BGRA image to uint8 (H, W, 3) with a shorter side of SIDE pixels.

    An image with transparency is cut to what is visible; around that it shows a background with a
    single color or a texture.
    """
    if image.ndim == 3 and image.shape[2] == 4 and image[..., 3].any():
        x, y, width, height = cv2.boundingRect(image[..., 3])
        image = image[y : y + height, x : x + width]
    scale = SIDE / min(image.shape[:2])
    size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    if image.shape[2] == 3:
        return image
    is_texture = rng.random() < 0.5
    behind = texture(rng) if is_texture else np.full((SIDE, SIDE, 3), rng.uniform(0, 255))
    behind = cv2.resize(behind, size)
    alpha = image[..., 3:] / 255
    return (alpha * image[..., :3] + (1 - alpha) * behind).astype(np.uint8)


def read_idx(path: Path) -> np.ndarray:
    """uint8 (N, H, W) of a gzipped file of MNIST's format (http://yann.lecun.com/exdb/mnist).

    Raises:
        InputError: it contains no such images.
    """
    wrong = InputError(f"{path}: expected images in MNIST's format; remove or replace the file")
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise wrong from error
    header = np.frombuffer(content[:16].ljust(16, b"\0"), ">i4")
    shape = header[1:].tolist()
    if header[0] != 0x803 or len(content) != 16 + np.prod(shape):
        raise wrong
    return np.frombuffer(content, np.uint8, offset=16).reshape(shape)


def images(folders: list[Path], rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Name and uint8 (H, W, 3) of each image.

    Raises:
        FileNotFoundError: a folder does not exist.
        InputError: a folder contains no images.
    """
    for number in range(TEXTURES):
        yield f"texture_{number:02d}", texture(rng)
    data = Path(skimage.__file__).parent / "data"
    files = [data / name for name in PHOTOGRAPHS]
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder; give one with images")
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg"))
        many = sorted(folder.rglob("*-images-idx3-ubyte.gz"))
        if not found and not many:
            raise InputError(
                f"{folder}: found no .png, no .jpg and no images in MNIST's format; give a folder "
                "with images"
            )
        files += found
        for path in many:
            name = path.name.removesuffix("-images-idx3-ubyte.gz")
            for number, image in enumerate(read_idx(path)):
                yield f"{name}_{number:05d}", on_background(image, rng)
    for number, path in enumerate(files):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is not None and image.dtype == np.uint8 and min(image.shape[:2]) >= SIDE:
            yield f"{number:04d}_{path.stem}", on_background(image, rng)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, image in images(args.folders, np.random.default_rng(0)):
        cv2.imwrite(str(args.output / f"{name}.png"), image)
        count += 1
    print(f"{count} images in {args.output}")


if __name__ == "__main__":
    run_tool(main)
