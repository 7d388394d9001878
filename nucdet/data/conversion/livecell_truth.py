"""Reads a JSON of LIVECell entry by entry, checks it and converts it to images with annotations.

It accepts what the real files contain, and more: ``annotations`` as a list or as an object by id,
polygons as lists or as text, images without cells, missing images, polygons with fewer than 3
points or beyond the edge of the image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucdet.data.cell_types import LIVECELL_TYPES
from nucdet.data.coco_entries import check_file_name, check_id, check_image_id, check_size
from nucdet.data.conversion.coco_json import ImageEntry
from nucdet.data.conversion.report import IMAGE, ConversionReport, Problem
from nucdet.data.conversion.segmentations import read_outline
from nucdet.data.io.reading import read_image
from nucdet.data.json_stream import stream_entries
from nucdet.errors import InputError
from nucdet.progress import ProgressBar


class TruthReader:
    """Reads the JSONs of one release; each image file is read only once.

    Invalid entries go to the report, as do missing images, unless ``allow_missing``.
    """

    def __init__(self, root: Path, report: ConversionReport, allow_missing: bool):
        self.root, self.report, self.allow_missing = root, report, allow_missing
        self._sizes: dict[Path, tuple[int, int] | Problem] = {}

    def read(self, path: Path, image_files: Mapping[str, Path]) -> list[ImageEntry]:
        """The valid images of one JSON, in its order.

        Args:
            path: COCO JSON of LIVECell.
            image_files: the existing image files by their names without folders.
        """
        problems_before = len(self.report.problems)
        try:
            images = self._images(path, image_files)
            self._annotations(path, images)
        except InputError as error:
            # problems found in a part of the file no longer matter
            del self.report.problems[problems_before:]
            self.report.add([Problem.of_file(path, error, "the file")])
            return []
        return [image for image in images.values() if image is not None]

    def _bad(self, where: str, what: str, left_out: str) -> None:
        self.report.add([Problem(where, what, left_out)])

    def _images(self, path: Path, files: Mapping[str, Path]) -> dict[int | str, ImageEntry | None]:
        """The images by id; None for those that must be left out."""
        images: dict[int | str, ImageEntry | None] = {}
        for entry in ProgressBar(_images_of(path), f"images of {path.name}"):
            image_id, name = check_image_id(path, entry, images), check_file_name(path, entry)
            size = check_size(path, entry)
            images[image_id] = self._image(path, name, size, files)
        if not images:
            raise InputError(f"{path}: it lists no images, expected those of LIVECell")
        names = Counter(p.file_name for p in images.values() if p)
        for name in sorted(name for name, count in names.items() if count > 1):
            raise InputError(f"{path}: image {name} is listed {names[name]} times, expected once")
        return images

    def _image(
        self, path: Path, name: str, size: tuple[int, int], files: Mapping[str, Path]
    ) -> ImageEntry | None:
        where = f"{path}: image {name}"
        kind = name.split("_")[0].lower()
        file = files.get(Path(name).name)
        if file is None and self.allow_missing:
            self.report.remark(f"{where}: not there, left out")
        elif file is None:
            what = "its file is not there; with --allow-missing such images are left out"
            self._bad(where, what, IMAGE)
        elif kind not in LIVECELL_TYPES:
            what = f"cell type {kind!r} in its name, expected one of {', '.join(LIVECELL_TYPES)}"
            self._bad(where, what, IMAGE)
        elif isinstance(found := self._size_of(file), Problem):
            self.report.add([found])
        elif found != size:
            stated, stored = (f"{h}x{w}" for h, w in (size, found))
            what = f"stated as {stated} (height x width), but {file} is {stored}"
            self._bad(where, what, IMAGE)
        else:
            return ImageEntry(file.relative_to(self.root).as_posix(), *size, kind, [])
        return None

    def _size_of(self, file: Path) -> tuple[int, int] | Problem:
        """(height, width), or the problem with the file."""
        if file not in self._sizes:
            try:
                self._sizes[file] = read_image(file).shape[:2]
            except (InputError, OSError) as error:
                self._sizes[file] = Problem.of_file(file, error)
        return self._sizes[file]

    def _annotations(self, path: Path, images: dict[int | str, ImageEntry | None]) -> None:
        """Give each image its annotations, in the order of the file."""
        cells = unknown = clipped = 0
        size = path.stat().st_size
        with ProgressBar(name=f"cells of {path.name}", total=size, unit="B") as bar:
            for member, entry in stream_entries(path, bar.update):
                if member != "annotations":
                    continue
                cells += 1
                image_id = check_id(path, entry, "image_id")
                if image_id not in images:
                    unknown += 1
                    self._unknown(path, entry, image_id)
                elif (image := images[image_id]) is not None:
                    try:
                        clipped += self._annotate(path, entry, image)
                    except InputError as error:
                        # a cell whose pixels are unknown would be trained as background
                        self._bad(_where(path, entry, image), str(error), IMAGE)
                        images[image_id] = None
        if not cells:
            raise InputError(f"{path}: it has no annotations, expected those of the cells")
        if unknown and self.allow_missing:
            self.report.remark(f"{path}: {unknown} annotations of images that it does not list")
        if clipped:
            self.report.remark(f"{path}: {clipped} cells reach over the edge, cut off there")

    def _unknown(self, path: Path, entry: dict[str, Any], image_id: int | str) -> None:
        if self.allow_missing:
            return
        what = f"of image {image_id!r}, which is not listed; --allow-missing leaves such out"
        self._bad(f"{path}: annotation {entry.get('id')}", what, "the cell")

    def _annotate(self, path: Path, entry: dict[str, Any], image: ImageEntry) -> bool:
        """Add one annotation to its image; return whether it extends beyond the edge.

        Raises:
            InputError: the pixels of the cell cannot be determined.
        """
        outline = read_outline(entry, (image.height, image.width), "cell")
        for what, left_out in outline.problems:
            self._bad(_where(path, entry, image), what, left_out)
        if outline.annotation:
            image.annotations.append(outline.annotation)
        return outline.clipped


def _images_of(path: Path) -> list[Any]:
    """The entries of "images"; the rest of the file is not read."""
    entries: list[Any] = []
    for member, entry in stream_entries(path):
        if member == "images":
            entries.append(entry)
        elif entries:
            break
    return entries


def _where(path: Path, entry: dict[str, Any], image: ImageEntry) -> str:
    return f"{path}: annotation {entry.get('id')} of {Path(image.file_name).name}"
