"""Instance masks of one image as small crops: memory grows with the nuclei, not with NxHxW."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from nucdet.structures.crops import crops_of_dense, crops_of_label_map
from nucdet.structures.polygons import polygons_to_rle
from nucdet.structures.rle import decode_coco, decode_pairs, encode_coco, encode_pairs
from nucdet.structures.roi_align import roi_align_crops
from nucdet.structures.runs import Runs, blocks_of_runs, runs_of_blocks


class CroppedMasks:
    """N instance masks of one HxW image, each a tight bool crop at (y0, x0). Masks may overlap.

    It stands in for a dense bool array or tensor NxHxW as ``pred_masks`` or ``gt_masks`` of
    Detectron2's ``Instances``: it supports their indexing, ``to`` and ``cat``, iterates as dense
    masks and converts with ``np.asarray``. It always stays on the CPU. Crops may share memory: do
    not write to them.

    Attributes:
        offsets: (N, 2) int64, (y0, x0) of each crop; (0, 0) for an empty mask.
        crops: N bool arrays (h, w), without empty rows or columns at their edges; (0, 0) if empty.
        image_size: (height, width) of the image.
    """

    def __init__(
        self, offsets: np.ndarray, crops: Sequence[np.ndarray], image_size: tuple[int, int]
    ):
        """
        Args:
            offsets: (N, 2) int, (y0, x0).
            crops: N tight bool arrays (h, w); for others use :meth:`from_windows`.
            image_size: (height, width).
        """
        self.offsets = np.ascontiguousarray(offsets, dtype=np.int64).reshape(-1, 2)
        self.crops = list(crops)
        self.image_size = (int(image_size[0]), int(image_size[1]))
        if len(self.offsets) != len(self.crops):
            raise ValueError(f"{len(self.offsets)} offsets for {len(self.crops)} crops")
        if any(crop.ndim != 2 or crop.dtype != bool for crop in self.crops):
            raise ValueError("crops must be bool arrays of two dimensions")
        if (self.offsets < 0).any() or (self.offsets + self._shapes > self.image_size).any():
            raise ValueError(f"a crop lies outside the image of size {self.image_size}")

    # --- as a sequence, as Detectron2 uses masks

    def __len__(self) -> int:
        return len(self.crops)

    def __repr__(self) -> str:
        return f"CroppedMasks(num_instances={len(self)}, image_size={self.image_size})"

    def __iter__(self) -> Iterator[np.ndarray]:
        """Dense bool (H, W) masks, one at a time."""
        for box, crop in zip(self.slices(), self.crops, strict=True):
            dense = np.zeros(self.image_size, dtype=bool)
            dense[box] = crop
            yield dense

    def __getitem__(self, item: Any) -> CroppedMasks:
        """Masks by int, slice, or bool/int array, tensor or list; an int gives one mask, N = 1."""
        if isinstance(item, torch.Tensor):
            item = item.cpu().numpy()
        picked = np.atleast_1d(np.arange(len(self))[item])
        return CroppedMasks(
            self.offsets[picked], [self.crops[i] for i in picked.tolist()], self.image_size
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("dense masks cannot be made from crops without a copy")
        return self.to_dense().astype(dtype or bool, copy=False)

    @staticmethod
    def cat(parts: Sequence[CroppedMasks]) -> CroppedMasks:
        """Join the masks of the same image."""
        if len({part.image_size for part in parts}) != 1:
            raise ValueError("only masks of the same image size can be joined, and at least one")
        return CroppedMasks(
            np.concatenate([part.offsets for part in parts]),
            [crop for part in parts for crop in part.crops],
            parts[0].image_size,
        )

    def to(self, *args: Any, **kwargs: Any) -> CroppedMasks:
        """Returns itself for every device: crops stay on the CPU."""
        return self

    def nonempty(self) -> torch.Tensor:
        """(N,) bool tensor: which masks have a pixel."""
        return torch.from_numpy(self._shapes.all(axis=1))

    # --- geometry

    @property
    def _shapes(self) -> np.ndarray:
        return np.array([crop.shape for crop in self.crops], dtype=np.int64).reshape(-1, 2)

    def slices(self) -> Iterator[tuple[slice, slice]]:
        """Where each crop lies in the image, as an index (rows, columns)."""
        corners = zip(self.offsets.tolist(), (self.offsets + self._shapes).tolist(), strict=True)
        for (y0, x0), (y1, x1) in corners:
            yield slice(y0, y1), slice(x0, x1)

    @property
    def areas(self) -> np.ndarray:
        """(N,) int64, pixels of each mask."""
        return np.array([np.count_nonzero(crop) for crop in self.crops], dtype=np.int64)

    @property
    def boxes(self) -> np.ndarray:
        """(N, 4) float32, (x0, y0, x1, y1), half-open; (0, 0, 0, 0) for an empty mask."""
        corners = np.concatenate([self.offsets, self.offsets + self._shapes], axis=1)
        return corners[:, [1, 0, 3, 2]].astype(np.float32)

    def touches_border(self) -> np.ndarray:
        """(N,) bool: which masks have a pixel in the first or last row or column of the image."""
        ends = self.offsets + self._shapes
        at_border = ((self.offsets == 0) | (ends == self.image_size)).any(axis=1)
        return at_border & self._shapes.all(axis=1)

    def outside(self, covered: np.ndarray) -> CroppedMasks:
        """Each of the N masks without the pixels of ``covered`` (H, W) bool."""
        windows = [
            crop & ~covered[box] for box, crop in zip(self.slices(), self.crops, strict=True)
        ]
        return CroppedMasks.from_windows(self.offsets, windows, self.image_size)

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """Mask i within box i, resized: Mask R-CNN's training targets.

        Same contract as ``detectron2.structures.BitMasks.crop_and_resize``: ROIAlign
        (``aligned=True``, adaptive sampling), then >= 0.5.

        Args:
            boxes: (N, 4) float, (x0, y0, x1, y1) in pixels.
            mask_size: side M of the results.

        Returns:
            (N, M, M) bool tensor on the device of ``boxes``.
        """
        if len(boxes) != len(self):
            raise ValueError(f"{len(boxes)} boxes for {len(self)} masks")
        sampled = roi_align_crops(self.crops, self.offsets, self.image_size, boxes, mask_size)
        return sampled >= 0.5

    # --- from other forms

    @classmethod
    def empty(cls, image_size: tuple[int, int]) -> CroppedMasks:
        """No mask in an image of (height, width)."""
        return cls(np.zeros((0, 2), np.int64), [], image_size)

    @classmethod
    def from_any(cls, masks: Any) -> CroppedMasks:
        """From CroppedMasks, a dense NxHxW array or tensor, or Detectron2's BitMasks."""
        if isinstance(masks, cls):
            return masks
        return cls.from_dense(getattr(masks, "tensor", masks))

    @classmethod
    def from_dense(cls, masks: np.ndarray | torch.Tensor) -> CroppedMasks:
        """From NxHxW bool or integers, nonzero = mask. From a GPU only the crops are copied."""
        return cls(*crops_of_dense(masks), masks.shape[1:])

    @classmethod
    def from_windows(
        cls, offsets: np.ndarray, windows: Sequence[np.ndarray], image_size: tuple[int, int]
    ) -> CroppedMasks:
        """From N bool windows (h, w) at (y0, x0) inside the image that need not be tight."""
        loose = cls(offsets, windows, image_size)
        return cls._from_column_runs(loose._column_runs(), len(loose), image_size)

    @classmethod
    def from_label_map(cls, labels: np.ndarray) -> CroppedMasks:
        """From (H, W) integers, 0 = background; masks in ascending order of their label.

        Raises:
            InputError: not two dimensions, not integers, negative labels.
        """
        labels = np.asarray(labels)
        return cls(*crops_of_label_map(labels), labels.shape)

    @classmethod
    def from_coco_rle(
        cls, rles: Sequence[dict[str, Any]], image_size: tuple[int, int]
    ) -> CroppedMasks:
        """From ``{"size", "counts"}``, compressed (str, bytes) or not (list).

        Raises:
            InputError: see :func:`nucdet.structures.rle.decode_coco`.
        """
        return cls._from_column_runs(decode_coco(rles, image_size), len(rles), image_size)

    @classmethod
    def from_kaggle_rle(cls, texts: Sequence[str], image_size: tuple[int, int]) -> CroppedMasks:
        """From "start length …" down the columns (2018 Data Science Bowl), starts from 1.

        Raises:
            InputError: see :func:`nucdet.structures.rle.decode_pairs`.
        """
        return cls._from_column_runs(decode_pairs(texts, image_size), len(texts), image_size)

    @classmethod
    def from_sartorius_rle(cls, texts: Sequence[str], image_size: tuple[int, int]) -> CroppedMasks:
        """From "start length …" along the rows (Sartorius), starts from 1.

        Raises:
            InputError: see :func:`nucdet.structures.rle.decode_pairs`.
        """
        runs = decode_pairs(texts, image_size)
        return cls(*blocks_of_runs(runs, len(texts), image_size[1]), image_size)

    @classmethod
    def from_coco(
        cls, segmentations: Sequence[dict[str, Any] | list[Any]], image_size: tuple[int, int]
    ) -> CroppedMasks:
        """From the segmentations of COCO annotations, each RLE or a list of polygons.

        Polygons are flat [x, y, x, y, …], their union filled as pycocotools does.

        Raises:
            InputError: see :meth:`from_coco_rle` and
                :func:`nucdet.structures.polygons.polygons_to_rle`.
        """
        rles = [s if isinstance(s, dict) else polygons_to_rle(s, image_size) for s in segmentations]
        return cls.from_coco_rle(rles, image_size)

    @classmethod
    def _from_column_runs(cls, runs: Runs, count: int, image_size: tuple[int, int]) -> CroppedMasks:
        corners, blocks = blocks_of_runs(runs, count, image_size[0])
        return cls(corners[:, ::-1], [block.T for block in blocks], image_size)

    # --- to other forms

    def _column_runs(self) -> Runs:
        columns = [crop.T for crop in self.crops]
        return runs_of_blocks(columns, self.offsets[:, ::-1], self.image_size[0])

    def to_dense(self) -> np.ndarray:
        """(N, H, W) bool."""
        dense = np.zeros((len(self), *self.image_size), dtype=bool)
        for i, (box, crop) in enumerate(zip(self.slices(), self.crops, strict=True)):
            dense[i][box] = crop
        return dense

    def to_label_map(self, labels: np.ndarray | None = None) -> np.ndarray:
        """(H, W), the label of a mask in its pixels, 0 elsewhere.

        Where masks overlap, the lower index is on top.

        Args:
            labels: (N,) integers from 1, whose dtype the map has; None: 1 to N, as int32.
        """
        painted = self.paint(np.arange(len(self))[::-1])
        if labels is None:
            return painted
        return np.concatenate([np.zeros(1, labels.dtype), labels])[painted]

    def paint(self, order: np.ndarray) -> np.ndarray:
        """(H, W) int32, label i + 1 for mask i, painted in this order: the last is on top."""
        labels = np.zeros(self.image_size, dtype=np.int32)
        boxes = list(self.slices())
        for i in order.tolist():
            labels[boxes[i]][self.crops[i]] = i + 1
        return labels

    def to_coco_rle(self) -> list[dict[str, Any]]:
        """``{"size": [H, W], "counts": str}``, the same bytes as pycocotools' ``encode``."""
        texts = encode_coco(self._column_runs(), len(self), self.image_size)
        return [{"size": list(self.image_size), "counts": text} for text in texts]

    def to_kaggle_rle(self) -> list[str]:
        """ "start length …" down the columns (2018 Data Science Bowl); "" for an empty mask."""
        return encode_pairs(self._column_runs(), len(self))

    def to_sartorius_rle(self) -> list[str]:
        """ "start length …" along the rows (Sartorius); "" for an empty mask."""
        runs = runs_of_blocks(self.crops, self.offsets, self.image_size[1])
        return encode_pairs(runs, len(self))
