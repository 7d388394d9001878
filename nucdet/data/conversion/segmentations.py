"""Checks and converts the segmentation of a COCO annotation, in any of its forms."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pycocotools import mask as coco_mask

from nucdet.data.conversion.coco_json import annotations_of
from nucdet.errors import InputError
from nucdet.structures import CroppedMasks
from nucdet.structures.polygons import polygons_to_rle


@dataclass
class Outline:
    """The result of :func:`read_outline`.

    Attributes:
        annotation: bbox, area, compressed RLE and, of a crowd, ``iscrowd``; None if no pixel is
            left.
        problems: pairs of ``what`` and ``left_out`` of a :class:`Problem`.
        clipped: whether it extended beyond the edge of the image and was cut off there.
    """

    annotation: dict[str, Any] | None = None
    problems: list[tuple[str, str]] = field(default_factory=list)
    clipped: bool = False


def read_outlines(
    entries: Sequence[dict[str, Any]], size: tuple[int, int], what: str
) -> Iterator[Outline]:
    """:func:`read_outline` for all annotations of an image, which is much faster for RLE.

    Raises:
        InputError: see :func:`read_outline`; raised where the iteration reaches the annotation.
    """
    rles = [e["segmentation"] for e in entries if isinstance(e.get("segmentation"), dict)]
    try:
        annotations = iter(annotations_of(CroppedMasks.from_coco_rle(rles, size)))
    except InputError:  # read one by one, so that the error is raised at its annotation
        annotations = None
    for entry in entries:
        if isinstance(entry.get("segmentation"), dict) and annotations is not None:
            yield _with_crowd(_of_rle(next(annotations), what), entry)
        else:
            yield read_outline(entry, size, what)


def read_outline(entry: dict[str, Any], size: tuple[int, int], what: str) -> Outline:
    """Check and encode the segmentation of an annotation in an image of (height, width).

    Args:
        entry: the annotation; its segmentation is RLE, compressed or not, or polygons (lists of
            numbers or text).
        size: of the image.
        what: name of an instance in messages, for example "cell".

    Raises:
        InputError: its pixels cannot be determined: it is neither polygons nor RLE, or has another
            size.
    """
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, dict):
        try:
            [annotation] = annotations_of(CroppedMasks.from_coco_rle([segmentation], size))
        except InputError as error:
            # the index of the mask, always 0, does not help the user
            raise InputError(str(error).removeprefix("mask 0: ")) from None
        outline = _of_rle(annotation, what)
    else:
        outline = _of_polygons(parts_of(segmentation), size, what)
    return _with_crowd(outline, entry)


def _of_rle(annotation: dict[str, Any], what: str) -> Outline:
    if annotation["area"]:
        return Outline(annotation)
    return Outline(problems=[("its RLE has no pixel", f"the {what}")])


def _with_crowd(outline: Outline, entry: dict[str, Any]) -> Outline:
    if outline.annotation and entry.get("iscrowd"):
        outline.annotation["iscrowd"] = 1
    return outline


def _of_polygons(parts: list[list[float]], size: tuple[int, int], what: str) -> Outline:
    outline = Outline()
    if short := [part for part in parts if len(part) < 6]:
        complaint = f"a polygon of {len(short[0]) // 2} points, expected at least 3"
        outline.problems.append((complaint, "that polygon"))
        parts = [part for part in parts if len(part) >= 6]
    if not parts:
        if not short:
            outline.problems.append(("no polygon, expected one", f"the {what}"))
        return outline
    rle = polygons_to_rle(parts, size)
    area = int(coco_mask.area(rle))
    if area == 0:
        complaint = f"its polygon covers no pixel of the image ({size[0]}x{size[1]})"
        outline.problems.append((complaint, f"the {what}"))
        return outline
    box = [int(value) for value in coco_mask.toBbox(rle)]
    rle = {"size": list(size), "counts": rle["counts"].decode("ascii")}
    outline.annotation = {"bbox": box, "area": area, "segmentation": rle}
    outline.clipped = any(
        min(part) < 0 or max(part[::2]) > size[1] or max(part[1::2]) > size[0] for part in parts
    )
    return outline


def parts_of(segmentation: Any) -> list[list[float]]:
    """The polygons of one instance as flat lists [x, y, x, y, …], from lists, text or a mix.

    Example:
        >>> parts_of([["1", "2.5", "3", "4"]])
        [[1.0, 2.5, 3.0, 4.0]]
        >>> parts_of("[[1, 2, 3, 4]]") == parts_of("1 2 3 4") == parts_of([1, 2, 3, 4])
        True

    Raises:
        InputError: something in it is not a number.
    """
    if isinstance(segmentation, str):
        segmentation = _parse(segmentation)
    if not isinstance(segmentation, list):
        raise InputError(f"segmentation {str(segmentation)[:40]}, expected polygons or RLE")
    first = segmentation[0] if segmentation else []
    if not isinstance(first, list) and (len(segmentation) > 1 or not isinstance(first, str)):
        segmentation = [segmentation]
    parts = [_parse(part) if isinstance(part, str) else part for part in segmentation]
    try:
        return [[float(value) for value in part] for part in parts]
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"segmentation {str(segmentation)[:40]}, expected x and y in turn"
        ) from None


def _parse(text: str) -> Any:
    if not text.lstrip().startswith("["):
        return text.replace(",", " ").split()
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"segmentation {text[:40]!r} is not JSON ({error.msg})") from None
    except RecursionError:
        raise InputError(f"segmentation {text[:40]!r} is nested too deeply") from None
