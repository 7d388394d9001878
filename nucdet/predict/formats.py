"""The output formats of a prediction run; each entry of :data:`FORMATS` is one format.

To add a format, add a writer in nucdet/export, a function here that passes it what it needs, and an
entry in the table; the command line, the help text and ``--resume`` need no change. Writers are
imported when they are called, because the help text needs only the table, not PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nucdet.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from nucdet.export import ImageRecord, PlaneNuclei, RoiPlane
    from nucdet.predict.plane_records import StoredStack
    from nucdet.structures import CroppedMasks


@dataclass(frozen=True)
class ImageOutputs:
    """The data from which all files of one predicted image, or plane of a stack, are written.

    Attributes:
        record: what is stored of the image, see :class:`nucdet.export.ImageRecord`.
        masks: its N masks, disjoint unless TEST.OVERLAP_ELIMINATION is disabled.
        table: N rows of measurements, see :func:`nucdet.predict.measurements.measure`.
        image: uint8 (H, W, 3) RGB to draw on, see :func:`nucdet.predict.drawing.read_for_drawing`.
    """

    record: ImageRecord
    masks: CroppedMasks
    table: pd.DataFrame
    image: np.ndarray


@dataclass(frozen=True)
class ImageFormat:
    """A format with one file for each image.

    Attributes:
        ending: what follows the image's name in the name of the file.
        summary: one line for the help text.
        write: writes the file of an image, given its path and the data; raises OSError.
        write_stack: writes the file of a stack, given its path and the planes. None: ``write``
            writes a file for each plane, into a folder with the name of the file without suffix.
        stack_ending: used instead of ``ending`` for a stack; empty: the same ending.
        disjoint: whether it cannot hold masks that overlap.
    """

    ending: str
    summary: str
    write: Callable[[Path, ImageOutputs], None]
    write_stack: Callable[[Path, StoredStack], None] | None = None
    stack_ending: str = ""
    disjoint: bool = False

    @property
    def file(self) -> str:
        """The pattern of its file names, for the help text."""
        return f"NAME{self.ending}"


@dataclass(frozen=True)
class SharedFormat:
    """A format with one file for all images.

    Attributes:
        file: the name of the file.
        summary: one line for the help text.
        write: writes the file, given its path and the records of all predicted images, over which
            it may iterate more than once; raises OSError.
        disjoint: whether it cannot hold masks that overlap.
    """

    file: str
    summary: str
    write: Callable[[Path, Iterable[ImageRecord]], None]
    disjoint: bool = False


def _label(path: Path, outputs: ImageOutputs) -> None:
    from nucdet.export import write_label_image

    write_label_image(path, outputs.masks, outputs.record.pixel_size)


def _label_stack(path: Path, stack: StoredStack) -> None:
    from nucdet.export import LabelPlane, StackLayout, write_label_stack

    first = next(iter(stack.planes)).record
    layout = StackLayout(first.axes, stack.lengths, first.size, stack.nuclei)
    records = (plane.record for plane in stack.planes)
    planes = (LabelPlane(record.masks(), record.columns["id"]) for record in records)
    write_label_stack(path, planes, layout, first.pixel_size, stack.z_step)


def _overlay(path: Path, outputs: ImageOutputs) -> None:
    from nucdet.predict.drawing import draw_overlay
    from nucdet.visualization.files import save_png

    save_png(path, draw_overlay(outputs.image, outputs.masks, outputs.record.colors))


def _csv(path: Path, outputs: ImageOutputs) -> None:
    from nucdet.export import write_table

    write_table(path, outputs.table)


def _csv_stack(path: Path, stack: StoredStack) -> None:
    from nucdet.export import write_csv_texts, write_table

    if stack.link == "z":
        from nucdet.predict.sections import table_of_nuclei

        write_table(path, table_of_nuclei(stack.planes, stack.z_step))
        return
    write_csv_texts(path, (plane.table for plane in stack.planes))


def _geojson(path: Path, outputs: ImageOutputs) -> None:
    from nucdet.export import write_geojson

    write_geojson(path, [_nuclei(outputs.record, outputs.masks, outputs.table)])


def _geojson_stack(path: Path, stack: StoredStack) -> None:
    from nucdet.export import read_csv_text, write_geojson

    write_geojson(
        path,
        (_nuclei(p.record, p.record.masks(), read_csv_text(p.table)) for p in stack.planes),
    )


def _nuclei(record: ImageRecord, masks: CroppedMasks, table: pd.DataFrame) -> PlaneNuclei:
    from nucdet.export import PlaneNuclei

    classes = [record.class_names[label] for label in record.classes]
    return PlaneNuclei(masks, classes, table, record.time, record.z)


def _roi(path: Path, outputs: ImageOutputs) -> None:
    from nucdet.export import RoiPlane, write_rois

    write_rois(path, [RoiPlane(outputs.masks)], len(outputs.masks))


def _roi_stack(path: Path, stack: StoredStack) -> None:
    from nucdet.export import RoiPlane, RoiPosition, write_rois

    def planes() -> Iterator[RoiPlane]:
        for number, plane in enumerate(stack.planes, 1):
            record = plane.record
            z, time = 0 if isinstance(record.z, str) else record.z + 1, record.time + 1
            if stack.is_whole and len(stack.lengths) == 1:
                z = time = 0
            position = RoiPosition(number, z, time)
            suffix = f"_{record.plane_name}" if stack.link else ""
            yield RoiPlane(record.masks(), position, record.columns["id"], suffix)

    write_rois(path, planes(), stack.nuclei)


def _coco(path: Path, records: Iterable[ImageRecord]) -> None:
    from nucdet.export import write_coco

    write_coco(path, records)


def _kaggle(path: Path, records: Iterable[ImageRecord]) -> None:
    from nucdet.export import write_kaggle

    write_kaggle(path, records)


FORMATS: dict[str, ImageFormat | SharedFormat] = {
    "label": ImageFormat(
        "_label.tif",
        "pixels hold the number of their nucleus (16 bits; 32 above 65,535)",
        _label,
        _label_stack,
        "_label.ome.tif",
        disjoint=True,
    ),
    "overlay": ImageFormat("_overlay.png", "outlines on the image", _overlay),
    "csv": ImageFormat(
        ".csv", "one row per nucleus; nuclei.csv has the rows of all images", _csv, _csv_stack
    ),
    "coco": SharedFormat("predictions_coco.json", "all images as one COCO JSON", _coco),
    "kaggle": SharedFormat(
        "kaggle.csv", "all images as Kaggle's run-length codes", _kaggle, disjoint=True
    ),
    "geojson": ImageFormat(".geojson", "outlines for QuPath", _geojson, _geojson_stack),
    "roi": ImageFormat("_rois.zip", "outlines for ImageJ's ROI Manager", _roi, _roi_stack),
}


def formats_text() -> str:
    """The possible values of --save, for error messages."""
    return "a list of " + ",".join(FORMATS)


def check_formats(names: Sequence[str]) -> None:
    """Raise InputError unless all are in :data:`FORMATS`."""
    unknown = sorted(set(names) - set(FORMATS))
    if unknown:
        raise InputError(f"--save: no format {unknown[0]!r}; expected {formats_text()}")


def check_disjoint(names: Sequence[str]) -> None:
    """Raise InputError if one of these formats cannot hold masks that overlap."""
    wrong = [name for name in names if FORMATS[name].disjoint]
    if wrong:
        others = ",".join(name for name, entry in FORMATS.items() if not entry.disjoint)
        raise InputError(
            f"--save {','.join(wrong)}: nuclei must not overlap there, but in the config "
            "TEST.OVERLAP_ELIMINATION.ENABLED is False; add TEST.OVERLAP_ELIMINATION.ENABLED True, "
            f"or save only some of {others}"
        )


def output_paths(output: Path, name: str, formats: Sequence[str]) -> dict[str, Path]:
    """The paths of one image's files, by format, in the order of :data:`FORMATS`.

    Args:
        output: the output folder of the run.
        name: see :class:`nucdet.predict.inputs.InputFile`.
        formats: names of formats; those with one file for all images are ignored.
    """
    return {key: output / f"{name}{entry.ending}" for key, entry in _of_images(formats).items()}


def stack_paths(output: Path, name: str, formats: Sequence[str]) -> dict[str, Path]:
    """Like :func:`output_paths`, for a stack: the formats with one file for all its planes."""
    return {
        key: output / f"{name}{entry.stack_ending or entry.ending}"
        for key, entry in _of_images(formats).items()
        if entry.write_stack is not None
    }


def plane_folders(output: Path, name: str, formats: Sequence[str]) -> dict[str, Path]:
    """The folders for the formats with one file for each plane of a stack, by format."""
    return {
        key: output / f"{name}{entry.ending.rpartition('.')[0]}"
        for key, entry in _of_images(formats).items()
        if entry.write_stack is None
    }


def plane_paths(
    output: Path, name: str, plane_name: str, formats: Sequence[str]
) -> dict[str, Path]:
    """The paths of the files that one plane of a stack has on its own, by format.

    Args:
        output, name, formats: see :func:`output_paths`.
        plane_name: see :attr:`nucdet.export.ImageRecord.plane_name`.
    """
    return {
        key: folder / f"{plane_name}.{_of_images([key])[key].ending.rpartition('.')[2]}"
        for key, folder in plane_folders(output, name, formats).items()
    }


def _of_images(formats: Sequence[str]) -> dict[str, ImageFormat]:
    chosen = {key: entry for key, entry in FORMATS.items() if key in formats}
    return {key: entry for key, entry in chosen.items() if isinstance(entry, ImageFormat)}


def shared_paths(output: Path, formats: Sequence[str]) -> dict[str, Path]:
    """The paths of the files that cover all images, by format, in the order of :data:`FORMATS`."""
    return {
        key: output / entry.file
        for key, entry in FORMATS.items()
        if key in formats and isinstance(entry, SharedFormat)
    }
