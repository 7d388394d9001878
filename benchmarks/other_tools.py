#!/usr/bin/env python
"""Train and run StarDist and cellpose, with their own packages, on the images nucdet is tested on.

    python benchmarks/other_tools.py train stardist --train dsb2018_train --val dsb2018_val \\
        --iterations 5000 --model DIR
    python benchmarks/other_tools.py predict stardist --model DIR --data DIR [DIR …] --output DIR
    python benchmarks/generalisation.py --data DIR [DIR …] --predictions DIR

``predict`` also accepts the name of a model that the package downloads: ``--model
2D_versatile_fluo`` or ``--model nuclei``. It writes a label image for each image,
DIR/<set>/<image>.tif, in the layout that generalisation.py scores. ``train`` needs no download: it
trains from random weights with the package's own loss, optimizer and defaults, so that the designs
can be compared on the same images.

Install in a separate environment with nucdet: ``pip install stardist tensorflow-cpu`` or ``pip
install 'cellpose<4'`` (from version 4 on, cellpose is another network of 300 million parameters).
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, Protocol

import nucdet  # noqa: F401, before Detectron2: prevents its warnings of torch.jit

# isort: split
import numpy as np
import torch
from detectron2.data import MetadataCatalog
from generalisation import find_sets, labelled_images
from tqdm import tqdm

from nucdet.arguments import command_parser, parse_list
from nucdet.data.augment.geometry import Nuclei
from nucdet.data.datasets import check_datasets, register_datasets
from nucdet.data.io.label_maps import read_label_map
from nucdet.data.io.reading import read_image
from nucdet.errors import InputError, run_tool
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.export.label_image import write_label_image
from nucdet.structures import CroppedMasks

PATCH = 256  # side of StarDist's training patches in pixels, its default


class Images(NamedTuple):
    """Images, uint8 (H, W, 3), and their label maps, int32 (H, W)."""

    pixels: list[np.ndarray]
    labels: list[np.ndarray]


class Tool(Protocol):
    packages: str  # what pip installs

    def train(self, train: Images, val: Images, iterations: int, model: Path) -> None:
        """Train from random weights, and save the model in the folder ``model``."""
        ...

    def load(self, model: str) -> Callable[[np.ndarray, float | None], np.ndarray]:
        """Load a model, and return a function that segments an image into a label map.

        Its arguments are the image, uint8 (H, W, 3), and the median diameter of its nuclei in
        pixels, or None if unknown.
        """
        ...


def read_dataset(name: str) -> Images:
    """Read a registered data set, with its ground truth as label maps."""
    check_datasets([name])
    root = Path(MetadataCatalog.get(name).image_root)
    truth = GroundTruth.of_dataset(name)
    pixels = [read_image(root / image.file_name) for image in truth.images.values()]
    labels = [truth.masks(number).to_label_map().astype(np.int32) for number in truth.images]
    return Images(pixels, labels)


class StarDist:
    """Star-convex polygons with 32 rays on a grid of 2, U-Net of depth 3 (the package's defaults).

    Source: U. Schmidt et al., Cell Detection with Star-convex Polygons, MICCAI 2018.
    """

    packages = "stardist tensorflow-cpu"
    batch = 4
    steps = 200  # iterations of an epoch

    def train(self, train: Images, val: Images, iterations: int, model: Path) -> None:
        import tensorflow
        from stardist.models import Config2D, StarDist2D

        tensorflow.keras.utils.set_random_seed(1)
        random = np.random.default_rng(1)
        network = StarDist2D(
            Config2D(
                n_rays=32,
                grid=(2, 2),
                n_channel_in=3,
                train_patch_size=(PATCH, PATCH),
                train_batch_size=self.batch,
                train_tensorboard=False,
                # the default patience is 40 of 400 epochs of 100 iterations; here there are fewer
                train_reduce_lr={"factor": 0.5, "patience": 3, "min_delta": 0},
            ),
            name=model.name,
            basedir=str(model.parent),
        )
        validation = self._prepared(val)
        network.train(
            *self._prepared(train),
            validation_data=validation,
            augmenter=lambda image, labels: self._augmented(image, labels, random),
            epochs=max(1, iterations // self.steps),
            steps_per_epoch=min(self.steps, iterations),
        )
        network.optimize_thresholds(*validation)

    def load(self, model: str) -> Callable[[np.ndarray, float | None], np.ndarray]:
        from stardist.models import StarDist2D

        if Path(model).is_dir():
            network = StarDist2D(None, name=Path(model).name, basedir=str(Path(model).parent))
        else:
            network = StarDist2D.from_pretrained(model)  # None if the name is unknown
            if network is None:
                raise InputError(f"--model {model}: neither a folder nor a model of StarDist's")

        def predict(image: np.ndarray, diameter: float | None) -> np.ndarray:
            stretched = self._stretched(image)
            if network.config.n_channel_in == 1:
                stretched = stretched.mean(axis=2)
            return network.predict_instances(stretched)[0]

        return predict

    @staticmethod
    def _stretched(image: np.ndarray) -> np.ndarray:
        """Scale percentiles 1 and 99.8 of all channels to 0 and 1, as in StarDist's examples."""
        low, high = np.percentile(image, (1, 99.8))
        return ((image - low) / max(high - low, 1e-20)).astype(np.float32)

    def _prepared(self, images: Images) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Stretch images, and pad those smaller than a training patch by reflection."""
        pixels, labels = [], []
        for image, label_map in zip(*images, strict=True):
            height, width = label_map.shape
            margin = [(0, max(0, PATCH - height)), (0, max(0, PATCH - width))]
            pixels.append(np.pad(self._stretched(image), [*margin, (0, 0)], mode="reflect"))
            labels.append(np.pad(label_map, margin, mode="reflect"))
        return pixels, labels

    @staticmethod
    def _augmented(
        image: np.ndarray, labels: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rotate, flip, change brightness and add noise, as in StarDist's training example."""
        turns = int(random.integers(4))
        image, labels = np.rot90(image, turns), np.rot90(labels, turns)
        if random.random() < 0.5:
            image, labels = image[::-1], labels[::-1]
        image = image * random.uniform(0.6, 2) + random.uniform(-0.2, 0.2)
        image = image + 0.02 * random.uniform() * random.normal(size=image.shape)
        return image.astype(np.float32), np.ascontiguousarray(labels)


class Cellpose:
    """Flows to the nucleus's center, predicted by a residual U-Net, as in versions before 4.

    Source: C. Stringer et al., Cellpose: a generalist algorithm for cellular segmentation,
    Nature Methods 18, 2021.
    """

    packages = "'cellpose<4'"
    batch = 8
    epochs = 100  # the smallest number with which cellpose lowers the rate in the last half

    def train(self, train: Images, val: Images, iterations: int, model: Path) -> None:
        from cellpose import models
        from cellpose.train import train_seg

        torch.manual_seed(1)
        np.random.seed(1)
        model.mkdir(parents=True, exist_ok=True)
        epochs = min(self.epochs, iterations)
        # 17 pixels: the diameter to which cellpose rescales nuclei; mkldnn mode has no gradients
        untrained = {"pretrained_model": None, "diam_mean": 17.0, "mkldnn": False}
        network = models.CellposeModel(gpu=torch.cuda.is_available(), **untrained).net
        # on a CPU, bfloat16 trains three to four times as fast; on a GPU, cellpose's default stays
        on_cpu = not torch.cuda.is_available()
        with torch.autocast("cpu", torch.bfloat16) if on_cpu else nullcontext():
            train_seg(
                network,
                train_data=[self._grey(image) for image in train.pixels],
                train_labels=train.labels,
                channels=[0, 0],
                min_train_masks=1,  # the default, 5, would leave out images with few nuclei
                batch_size=self.batch,
                n_epochs=epochs,
                nimg_per_epoch=iterations // epochs * self.batch,
                save_path=model,
                model_name="cellpose",
            )

    def load(self, model: str) -> Callable[[np.ndarray, float | None], np.ndarray]:
        from cellpose import models

        trained = Path(model) / "models" / "cellpose"
        if not trained.is_file() and model not in models.MODEL_NAMES:
            # cellpose itself would use another model and only log a message
            raise InputError(
                f"--model {model}: neither a folder with models/cellpose nor one of "
                f"{', '.join(models.MODEL_NAMES)}"
            )
        known = {"pretrained_model": str(trained)} if trained.is_file() else {"model_type": model}
        network = models.CellposeModel(gpu=torch.cuda.is_available(), **known)

        def predict(image: np.ndarray, diameter: float | None) -> np.ndarray:
            return network.eval(self._grey(image), channels=[0, 0], diameter=diameter)[0]

        return predict

    @staticmethod
    def _grey(image: np.ndarray) -> np.ndarray:
        return image.mean(axis=2).astype(np.float32)


TOOLS: dict[str, type[Tool]] = {"stardist": StarDist, "cellpose": Cellpose}


def median_diameter(labels: np.ndarray) -> float | None:
    """Median diameter of circles with the areas of the nuclei, in pixels; None without nuclei."""
    nuclei = Nuclei.of_masks(CroppedMasks.from_label_map(labels))
    return nuclei.diameter if nuclei else None


def train(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # cellpose's progress
    register_datasets()
    images = [read_dataset(name) for name in (args.train, args.val)]
    start = time.process_time()
    TOOLS[args.tool]().train(*images, args.iterations, args.model)
    print(f"{args.model}: {(time.process_time() - start) / 60:.0f} CPU minutes")


def predict(args: argparse.Namespace) -> None:
    sets = find_sets(args.data, args.sets)
    segment = TOOLS[args.tool]().load(args.model)
    for name, folder in sets.items():
        pairs = labelled_images(folder, args.limit)
        seconds = 0.0
        for pair in tqdm(pairs, name, unit="image"):
            image = read_image(pair.image)
            diameter = None
            if args.diameter == "true":
                diameter = median_diameter(read_label_map(pair.labels, image.shape[:2]))
            start = time.process_time()
            masks = CroppedMasks.from_label_map(np.asarray(segment(image, diameter), np.int32))
            seconds += time.process_time() - start
            write_label_image(args.output / name / f"{pair.image.stem}.tif", masks)
        print(f"{name}: {seconds / len(pairs):.2f} CPU s an image")


def main() -> None:
    parser = command_parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train on a registered data set")
    training.add_argument("tool", choices=TOOLS)
    training.add_argument("--train", default="dsb2018_train", metavar="DATASET")
    training.add_argument("--val", default="dsb2018_val", metavar="DATASET")
    training.add_argument("--iterations", type=int, default=5000, metavar="N")
    training.add_argument("--model", type=Path, required=True, metavar="DIR")
    prediction = commands.add_parser("predict", help="write label images of data sets")
    prediction.add_argument("tool", choices=TOOLS)
    prediction.add_argument("--model", required=True, metavar="DIR|NAME")
    prediction.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR")
    prediction.add_argument("--sets", type=parse_list, metavar="NAME,NAME")
    prediction.add_argument("--limit", type=int, metavar="N", help="number of images of each set")
    prediction.add_argument(
        "--diameter", choices=("true",), help="tell the tool each image's true median diameter"
    )
    prediction.add_argument("--output", type=Path, required=True, metavar="DIR")
    args = parser.parse_args()
    for name in ("iterations", "limit"):
        number = getattr(args, name, None)
        if number is not None and number < 1:
            raise InputError(f"--{name} {number}: expected 1 or more")
    try:
        {"train": train, "predict": predict}[args.command](args)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in ("stardist", "tensorflow", "cellpose"):
            raise
        raise InputError(
            f"{missing} is not installed; pip install {TOOLS[args.tool].packages}, in an "
            "environment of its own with nucdet"
        ) from error


if __name__ == "__main__":
    run_tool(main)
