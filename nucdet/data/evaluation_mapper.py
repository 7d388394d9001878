"""Maps a data set's dict to the input of evaluation: the normalized image of the file."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode

from nucdet.data.augment.perturbations import build_perturbation
from nucdet.data.mapper import NucleusDatasetMapper


class EvaluationMapper:
    """Maps ``{"file_name", "height", "width", "image_id", …}`` to the same with ``"image"``.

    ``"image"`` is the whole image as :meth:`nucdet.data.io.windows.ImageWindows.read` returns it, a
    uint8 tensor (3, H, W) in RGB after TEST.PERTURBATION. It is neither resized nor tiled:
    :class:`nucdet.predict.finding.Finder` does this, in evaluation as in prediction.

    For the evaluator "subsystems" there is also ``"measured"``, the input of the model itself with
    its ground truth, see :class:`NucleusDatasetMapper`.
    """

    def __init__(self, cfg: CfgNode):
        normalize, perturbation = build_perturbation(cfg)
        self._whole = NucleusDatasetMapper(
            augmentations=perturbation,
            with_truth=False,
            image_format="RGB",
            normalize=normalize,
        )
        self._measured = None
        if "subsystems" in cfg.TEST.EVALUATORS:
            self._measured = NucleusDatasetMapper(cfg, augment=False, with_truth=True)

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Read one image.

        Raises:
            FileNotFoundError, InputError: the image is missing, unreadable or of another size.
        """
        result = self._whole(dataset_dict)
        if self._measured is not None:
            result["measured"] = self._measured(dataset_dict)
        return result
