"""Find the nuclei of an image of any size, bit depth or magnification in two lines of Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode

from nucdet.config import load_config
from nucdet.data.datasets import class_names
from nucdet.data.io.channel_files import open_files
from nucdet.data.io.choice import Choice, choose_channel, choose_color
from nucdet.data.io.normalization import check_rule
from nucdet.data.io.planes import Planes
from nucdet.data.io.windows import ImageWindows
from nucdet.errors import InputError
from nucdet.modeling.architecture_checks import check_architecture
from nucdet.modeling.model_zoo import DEFAULT_MODEL, find_model, model_names
from nucdet.modeling.weight_checks import check_trained
from nucdet.postprocessing.overlap import OverlapElimination
from nucdet.predict.familiarity import familiarity
from nucdet.predict.finding import Finder
from nucdet.predict.network import Network
from nucdet.predict.options import check_diameter
from nucdet.predict.prediction import Prediction
from nucdet.processes import find_device


def default_model() -> Path:
    """The config file of the model that ships with nucdet; it names its weights, ``nucdet://…``.

    Raises:
        InputError: no model ships with this copy of nucdet, or its files are damaged.
    """
    if DEFAULT_MODEL not in model_names():
        raise InputError(
            "no default model ships with this copy of nucdet; give a config file and weights "
            "(--config-file configs/… MODEL.WEIGHTS output/…/model_best.pth)"
        )
    return find_model(DEFAULT_MODEL).config


class Segmenter:
    """A trained network that finds the nuclei of images.

    Example::

        from nucdet import Segmenter

        segmenter = Segmenter("configs/DSB2018/mask_rcnn_lite0_FPN.yaml", "model_best.pth")
        prediction = segmenter.predict(image)
        labels, table = prediction.label_map(), prediction.table()

    Attributes:
        cfg: the frozen config.
        class_names: the name of each class index in ``pred_classes``.
    """

    def __init__(
        self,
        config_file: str | os.PathLike[str] | None = None,
        weights: str | os.PathLike[str] | None = None,
        overrides: Sequence[str] = (),
        device: str = "auto",
        precision: str = "auto",
        threshold: float | None = None,
    ):
        """
        Args:
            config_file: a yaml; None: the model that ships with nucdet.
            weights: a checkpoint; None: MODEL.WEIGHTS from the config and overrides.
            overrides: ``KEY VALUE`` pairs for the config.
            device: "cpu", "cuda", "cuda:1", …; "auto": MODEL.DEVICE, or the CPU if there is no GPU.
            precision: see :class:`nucdet.predict.network.Network`.
            threshold: the score that a nucleus must exceed, from 0 ("find more") to below 1 ("be
                sure"), see docs/threshold.md; None: as in the config.

        Raises:
            FileNotFoundError, InputError: see :func:`configure`.
        """
        if threshold is not None:
            overrides = (*overrides, "TEST.SCORE_THRESHOLD", str(threshold))
        self.cfg = configure(config_file, weights, overrides, device)
        self.class_names = _class_names(self.cfg)
        self._finder = Finder(self.cfg, Network.load(self.cfg, precision))
        self._elimination = OverlapElimination(self.cfg)

    def predict(
        self,
        image: np.ndarray,
        diameter: float | str | None = None,
        channel: int | str | None = None,
    ) -> Prediction:
        """Find the nuclei of one image.

        Args:
            image: (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA; bool, integers or floats.
                INPUT.NORMALIZE says how the values are converted to 8 bits.
            diameter: diameter of the nuclei in pixels of the image, which is rescaled so that they
                are as large as in training. "auto": estimated from a first prediction. None: as in
                evaluation: "auto" or resized, depending on INPUT.RESIZE_RULE of the config.
            channel: the channel that shows the nuclei: a number from 0, or for RGB and RGBA also
                "red", "green" or "blue". The image may then be (H, W, C) with any C. Only this
                channel is measured; :meth:`predict_file` measures all.

        Raises:
            InputError: another shape or dtype, no such channel, or an invalid diameter.
        """
        if channel is not None and np.ndim(image) == 3:
            count = np.shape(image)[2]
            # if one of four channels is chosen by number, the fourth need not be alpha
            if count == 3 or (count == 4 and isinstance(channel, str)):
                image = image[..., choose_color("the image", channel)]
            else:
                image = image[..., choose_channel("the image", [""] * count, channel)]
        return self.predict_batch([image], diameter)[0]

    def predict_batch(
        self, images: Sequence[np.ndarray], diameter: float | str | None = None
    ) -> list[Prediction]:
        """:meth:`predict` for several images; on a GPU, images of equal size form batches.

        Returns:
            One prediction per image, in the same order.
        """
        rule = self.cfg.INPUT.NORMALIZE
        sources = [ImageWindows(image, f"image {i}", rule) for i, image in enumerate(images)]
        return self.predict_windows(sources, diameter)

    def predict_file(
        self,
        path: str | os.PathLike[str],
        diameter: float | str | None = None,
        progress: Callable[[int, int], None] | None = None,
        *,
        channel: int | str | None = None,
        z: int | str | None = None,
        time: int | str | None = None,
        scene: int | str | None = None,
        channel_files: Mapping[str, str | os.PathLike[str]] | None = None,
    ) -> Prediction | Iterator[Prediction]:
        """Find the nuclei of an image file; of a large TIFF, only windows are held in memory.

        Example::

            for prediction in segmenter.predict_file("stack.ome.tif", channel="DAPI", z="all"):
                print(prediction.place.z, len(prediction))

        Args:
            path: see :func:`nucdet.data.io.planes.open_planes`.
            channel, z, time, scene: see :class:`nucdet.data.io.choice.Choice`.
            channel_files: see :meth:`open`.
            diameter: see :meth:`predict`.
            progress: called as ``progress(tiles done, tiles)`` for images with several tiles.

        Returns:
            The nuclei. If z or time is "all": an iterator over the planes, all depths of the first
            time, then of the next …, each read and predicted when it is requested.

        Raises:
            FileNotFoundError, InputError: the file cannot be read, the choice of a plane is
                ambiguous or impossible, or the diameter is invalid.
        """
        check_diameter(diameter)
        choice = Choice(channel, z, time, scene)
        planes = self.open(path, choice, channel_files)
        found = (self.predict_windows([plane], diameter, progress)[0] for plane in planes)
        return found if choice.asks_for_all else next(found)

    def open(
        self,
        path: str | os.PathLike[str],
        choice: Choice | None = None,
        channel_files: Mapping[str, str | os.PathLike[str]] | None = None,
    ) -> Planes:
        """Open the planes of a file for :meth:`predict_windows`, with the config's normalization.

        Args:
            path, choice: see :func:`nucdet.data.io.planes.open_planes`.
            channel_files: if each channel of the image lies in a file of its own, these files by
                the name of the channel, among them ``path``; all of them are measured.

        Raises:
            FileNotFoundError, InputError: a file cannot be read, or see
                :func:`nucdet.data.io.channel_files.open_files`.
        """
        return open_files(path, choice, channel_files, self.cfg.INPUT.NORMALIZE)

    def predict_windows(
        self,
        sources: Sequence[ImageWindows],
        diameter: float | str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Prediction]:
        """:meth:`predict_batch` for planes of :meth:`open`; arguments as for :meth:`predict_file`.

        Raises:
            InputError: a file is damaged, or the diameter is invalid.
        """
        predictions = []
        for source, found in zip(sources, self._finder(sources, diameter, progress), strict=True):
            left = self._elimination(found.instances)
            known = self._finder.network.familiarity
            how = familiarity(known, found, len(left), source)
            predictions.append(Prediction(left, source, found.plan.diameter, self.class_names, how))
        return predictions


def configure(
    config_file: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    device: str = "auto",
) -> CfgNode:
    """Load and check the config of a :class:`Segmenter`, without building the network.

    Raises:
        FileNotFoundError: there is no such config or weights file.
        InputError: a mistake in the config, no weights given, no such device, or no default model.
    """
    if config_file is None:
        config_file = default_model()
    cfg = load_config(config_file, overrides)
    if weights is not None:
        cfg.MODEL.WEIGHTS = str(weights)
        overrides = [*overrides, "MODEL.WEIGHTS", str(weights)]
    if cfg.MODEL.SEGMENTATION.NETWORK == "none":
        cfg.MODEL.WEIGHTS = ""  # there is nothing to load them into
    check_trained(cfg, config_file, overrides)
    check_architecture(cfg)
    check_rule(cfg.INPUT.NORMALIZE)
    automatic = device == "auto"
    cfg.MODEL.DEVICE = find_device(cfg.MODEL.DEVICE if automatic else device, automatic)
    cfg.freeze()
    return cfg


def _class_names(cfg: CfgNode) -> list[str]:
    """One name for each class that the network predicts, from the data set it was trained on."""
    count = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    for name in cfg.DATASETS.TRAIN:
        if found := class_names(name):
            if count == 1 < len(found):  # a network that learns one class, whatever the data has
                break
            # the network may have more classes than the data set
            return [*found, *(f"class {i}" for i in range(len(found), count))]
    return ["nucleus"] if count == 1 else [f"class {i}" for i in range(count)]
