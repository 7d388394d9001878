"""COCO's box and mask AP for dense images: any number of detections, fast encoding and matching."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections import Counter, OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator
from detectron2.evaluation.coco_evaluation import COCOevalMaxDets
from detectron2.structures import Instances
from pycocotools.coco import COCO

from nucdet.errors import InputError
from nucdet.evaluation.gather import gather_images
from nucdet.evaluation.registry import evaluator
from nucdet.files import write_json
from nucdet.structures import CroppedMasks

try:
    import faster_coco_eval
    from faster_coco_eval import COCOeval_faster
except ImportError:
    faster_coco_eval = None

RESULTS_FILE = "coco_instances_results.json"


class DenseCOCOEvaluator(COCOEvaluator):
    """Detectron2's COCOEvaluator for images with thousands of nuclei.

    It has the same task keys and metrics (``bbox``, ``segm``: AP, AP50, AP75, APs, APm, APl, AP by
    class), and the same numbers as pycocotools. Differences:

    - all masks are encoded at once, instead of each as an H×W image;
    - ``faster_coco_eval`` does the matching if it is installed;
    - without any prediction, AP is 0 instead of NaN (it is NaN if the ground truth is empty);
    - the file of raw predictions ``instances_predictions.pth`` is not written.
    """

    # smallest and largest area of all, small, medium and large objects; None: COCO's own
    area_ranges: list[list[float]] | None = None

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        *,
        max_dets_per_image: int,
        one_class: bool = False,
        use_faster_engine: bool = faster_coco_eval is not None,
    ) -> None:
        """
        Args:
            dataset_name: a data set of Detectron2's catalog with a COCO JSON.
            output_dir: folder for ``coco_instances_results.json``; None: it is not written.
            max_dets_per_image: number of detections per image that count, those with the highest
                scores (``cfg.TEST.DETECTIONS_PER_IMAGE``; COCO's own limit is 100). The log warns
                if an image has more.
            one_class: the model distinguishes no classes, so all classes of the data set count as
                the first one.
            use_faster_engine: faster_coco_eval instead of pycocotools.
        """
        super().__init__(
            dataset_name,
            tasks=("bbox", "segm"),
            output_dir=output_dir,
            use_fast_impl=False,
        )
        self._max_dets_per_image = [1, min(10, max_dets_per_image), max_dets_per_image]
        self._faster = use_faster_engine
        # the order in which Detectron2 numbers the classes when it loads the JSON
        self._category_ids = sorted(self._coco_api.getCatIds())
        if one_class and len(self._category_ids) > 1:
            self._merge_classes()
        self._class_names = [c["name"] for c in self._coco_api.loadCats(self._category_ids)]

    def _merge_classes(self) -> None:
        self._logger.info(
            f"{self._metadata.json_file} has {len(self._category_ids)} classes, but the model "
            "distinguishes none: COCO AP counts them as one"
        )
        del self._category_ids[1:]
        for annotation in self._coco_api.dataset["annotations"]:
            annotation["category_id"] = self._category_ids[0]
        self._coco_api.dataset["categories"] = self._coco_api.loadCats(self._category_ids)

    def reset(self) -> None:
        """Forget the predictions of an earlier round."""
        self._predictions: dict[int, list[dict[str, Any]]] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Store the predictions of a batch as COCO results (boxes and RLE)."""
        for entry, output in zip(inputs, outputs, strict=True):
            image_id = entry["image_id"]
            self._predictions[image_id] = self._coco_results(output["instances"], image_id)

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """``{"bbox": metrics, "segm": metrics}`` over all images of the JSON; None except in the
        main process."""
        gathered = gather_images(self._predictions)
        if gathered is None:
            return None
        results = list(itertools.chain(*gathered.values()))
        if self._output_dir:
            write_json(Path(self._output_dir) / RESULTS_FILE, results)
        if not self._do_evaluation:
            self._logger.info(f"{self._metadata.json_file} has no annotations: no COCO AP")
            return OrderedDict()
        self._warn_of_limit(results)
        return OrderedDict((task, self._metrics(results, task)) for task in self._tasks)

    def _warn_of_limit(self, results: Sequence[dict[str, Any]]) -> None:
        """Warn of predictions that do not count. COCO limits those of each class; an R-CNN keeps to
        the limit itself in images of usual size, other networks have none."""
        limit = self._max_dets_per_image[-1]
        numbers = Counter((result["image_id"], result["category_id"]) for result in results)
        beyond = {image_id: number for (image_id, _), number in numbers.items() if number > limit}
        if beyond:
            self._logger.warning(
                f"{len(beyond)} images have more than {limit} predictions, up to "
                f"{max(beyond.values())}: COCO AP counts only the {limit} with the highest scores, "
                "so it is too low; raise TEST.DETECTIONS_PER_IMAGE"
            )

    def _metrics(self, results: Sequence[dict[str, Any]], task: str) -> dict[str, float]:
        """The metrics of one task in 0–100."""
        return self._derive_coco_results(self._run(results, task), task, self._class_names)

    def _coco_results(self, instances: Instances, image_id: int) -> list[dict[str, Any]]:
        """The instances of an image in COCO's result format, one dict each."""
        instances = instances.to(torch.device("cpu"))
        boxes = instances.pred_boxes.tensor.clone()
        boxes[:, 2:] -= boxes[:, :2]
        rles = CroppedMasks.from_any(instances.pred_masks).to_coco_rle()
        classes = instances.pred_classes.tolist()
        if classes and max(classes) >= len(self._category_ids):
            raise InputError(
                f"{self._metadata.json_file}: a prediction has class {max(classes)}, but there are "
                f"{len(self._category_ids)} categories, counted from 0; set the model's number of "
                "classes (MODEL.ROI_HEADS.NUM_CLASSES) accordingly"
            )
        columns = zip(classes, boxes.tolist(), instances.scores.tolist(), rles, strict=True)
        return [
            {
                "image_id": image_id,
                "category_id": self._category_ids[class_],
                "bbox": box,
                "score": score,
                "segmentation": rle,
            }
            for class_, box, score, rle in columns
        ]

    def _run(
        self,
        results: Sequence[dict[str, Any]],
        task: str,
        image_ids: Sequence[int] | None = None,
    ) -> Any:
        """A COCOeval of either engine after evaluate, accumulate and summarize.

        If ``image_ids`` are given, only these images count. The engine gets ``results`` without the
        other task's shape: it would otherwise use the area of a "bbox" to sort masks into small,
        medium and large.
        """
        shape = "segmentation" if task == "segm" else "bbox"
        keys = ("image_id", "category_id", "score", shape)
        detections = [{key: result[key] for key in keys} for result in results]
        engine = faster_coco_eval.COCO if self._faster else COCO
        with contextlib.redirect_stdout(io.StringIO()):
            truth = _indexed(engine(), self._coco_api.dataset)
            if detections:
                found = truth.loadRes(detections)
            else:
                # loadRes needs a first result to determine their type
                found = _indexed(engine(), {**self._coco_api.dataset, "annotations": []})
            evaluation = (COCOeval_faster if self._faster else COCOevalMaxDets)(truth, found, task)
            evaluation.params.maxDets = self._max_dets_per_image
            if self.area_ranges is not None:
                evaluation.params.areaRng = self.area_ranges
            if image_ids is not None:
                evaluation.params.imgIds = list(image_ids)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return evaluation


def _indexed(api: Any, dataset: dict[str, Any]) -> Any:
    api.dataset = dataset
    api.createIndex()
    return api


@evaluator("coco")
def _build(cfg: CfgNode, dataset_name: str, output_folder: str) -> DatasetEvaluator:
    return DenseCOCOEvaluator(
        dataset_name,
        output_folder,
        max_dets_per_image=cfg.TEST.DETECTIONS_PER_IMAGE,
        one_class=cfg.MODEL.ROI_HEADS.NUM_CLASSES == 1,
    )
