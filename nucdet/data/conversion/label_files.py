"""Finds the label maps of other tools.

For an image ``a.png`` (or ``a_img.png``, as in cellpose's own data sets) its name may be
``a_seg.npy`` or ``a_cp_masks.png`` (cellpose), ``a_masks``, ``a_labels``, ``a_label`` (nucdet),
``a`` itself (StarDist and most others), or ``a_mask``, as PNG, TIFF or npy, in a separate folder or
in that of the images. For an OME-TIFF ``a.ome.tif``, ``a`` stands for ``a`` or ``a.ome``. The whole
name of the image is accepted, too, as in ``a.png_label``, which nucdet writes if ``a`` alone would
be ambiguous. :mod:`nucdet.data.io.label_maps` reads the files.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nucdet.data.conversion.report import IMAGE, Problem
from nucdet.data.io.bioio_stacks import BIOIO_READERS, is_image
from nucdet.data.io.label_maps import LABEL_SUFFIXES
from nucdet.errors import InputError
from nucdet.image_names import check_distinct, composed, names_of, stem_of

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
# microscopes' own formats
_STACK_SUFFIXES = tuple(BIOIO_READERS)
_ALL_SUFFIXES = (*IMAGE_SUFFIXES, *_STACK_SUFFIXES)
# If an image has several label files, the first of these is used: cellpose's window saves _seg.npy
# after each correction, and its _cp_masks may be older. A _mask may be that of a region instead.
LABEL_ENDINGS = ("_seg", "_cp_masks", "_masks", "_labels", "_label", "", "_mask")
# other files that cellpose and nucdet write for an image
_OTHER_OUTPUTS = ("_flows", "_cp_output", "_outlines", "_cp_outlines", "_overlay")
_OUTPUTS = (*filter(None, LABEL_ENDINGS), *_OTHER_OUTPUTS)
_IMAGE_ENDING = "_img"
# endings of stems that are not simply the name of an image
ENDINGS_WITH_A_MEANING = (*_OUTPUTS, _IMAGE_ENDING)


@dataclass(frozen=True)
class LabelledImage:
    """An image file and the file of its label map."""

    image: Path
    labels: Path


@dataclass
class Pairing:
    """What :func:`pair_files` found.

    Attributes:
        pairs: in the order of the images' names.
        problems: images without labels, labels without an image, names that are not unique.
        remarks: notes that are not problems.
    """

    pairs: list[LabelledImage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, image: Path, files: list[Path], folder: str | os.PathLike[str]) -> None:
        """Add an image with its label map, or a problem if there is not exactly one file."""
        if not files:
            what = f"no label map in {folder}; expected {_names(stem_of(image.name))}"
            self.problems.append(Problem(str(image), what, IMAGE))
        elif len(files) > 1:
            what = f"{_listed(files[1:])} is for the same image; keep one of them"
            self.problems.append(Problem(str(files[0]), what, IMAGE))
        else:
            self.pairs.append(LabelledImage(image, files[0]))


def find_images(folder: str | os.PathLike[str]) -> tuple[list[Path], list[Problem]]:
    """The image files of a folder by name, without label maps and other outputs in it.

    Files in the formats of microscopes count only if there are no others.

    Returns:
        The images with a unique stem, and a problem for each stem that several images share.

    Raises:
        FileNotFoundError: there is no such folder.
        InputError: it contains no image (subfolders are not searched), or two with look-alike names
            (:func:`nucdet.image_names.check_distinct`).
    """
    images, problems = [], []
    for same in _images_by_name(Path(folder)).values():
        if len(same) == 1:
            images += same
        else:
            problems.append(_same_stem(same))
    return images, problems


def _images_by_name(folder: Path) -> dict[str, list[Path]]:
    """The images of :func:`find_images`, grouped if their label maps could be confused."""
    files = _files_of(folder, _ALL_SUFFIXES)
    known = names_of_all(files)
    images = [file for file in files if not is_output(stem_of(file.name), known)]
    # next to images, files of a microscope are what these were exported from
    exported = [file for file in images if file.suffix.lower() in IMAGE_SUFFIXES]
    by_name: dict[str, list[Path]] = defaultdict(list)
    for file in exported or images:
        by_name[_name_of(file)].append(file)
    if not by_name:
        raise _nothing_in(folder, "image", _ALL_SUFFIXES, f"files {', '.join(_ALL_SUFFIXES)}")
    return by_name


def _nothing_in(folder: Path, what: str, suffixes: tuple[str, ...], expected: str) -> InputError:
    """The error that a folder has no image or label map; it names a subfolder that has some."""
    for place, found in _in_subfolders(folder, suffixes):
        return InputError(
            f"{folder}: no {what} in it, but {len(found)} in its subfolder {place}; only "
            "nucdet-predict searches folders with their subfolders: give that subfolder, or "
            f"put the {what}s of all subfolders into one folder, under different names"
        )
    return InputError(f"{folder}: no {what} in it; expected {expected}")


def left_in_subfolders(
    images: str | os.PathLike[str], labels: str | os.PathLike[str] | None
) -> str | None:
    """A remark on images in subfolders, which are not converted; None if there are none.

    Args:
        images: folder of images.
        labels: folder of label maps, which may be a subfolder; None: there are none.
    """
    known = names_of_all(_files_of(Path(images), _ALL_SUFFIXES))
    of_labels = None if labels is None else Path(labels).resolve()
    for place, found in _in_subfolders(Path(images), _ALL_SUFFIXES):
        if of_labels is not None and place.resolve().is_relative_to(of_labels):
            continue
        # label maps and overlays of the images above are what an earlier run left, no images
        if others := [name for name in found if not is_output(stem_of(name), known)]:
            return (
                f"the images of subfolders are not converted, such as {place / others[0]}; only "
                "nucdet-predict searches them"
            )
    return None


def _in_subfolders(folder: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[Path, list[str]]]:
    """Each visible subfolder with files that have these suffixes, and their names, in order."""
    for place, folders, files in os.walk(folder):
        # as in nucdet-predict, which searches subfolders, hidden ones do not count
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found = [f for f in files if f.lower().endswith(suffixes) and not f.startswith(".")]
        if found and Path(place) != folder:
            yield Path(place), sorted(found)


def _same_stem(images: list[Path]) -> Problem:
    what = f"{_listed(images[1:])} has the same stem; keep one of them or rename"
    return Problem(str(images[0]), what, "the images")


def pair_files(images: str | os.PathLike[str], labels: str | os.PathLike[str]) -> Pairing:
    """Find the label map of each image; see the module's docstring for the names.

    Args:
        images: folder of images. Subfolders are not searched.
        labels: folder of label maps, which may be the same one.

    Raises:
        FileNotFoundError: there is no such folder.
        InputError: there is no image, or no label map, or a folder of masks for each image instead,
            or two files have look-alike names (:func:`nucdet.image_names.check_distinct`).
    """
    by_name = _images_by_name(Path(images))
    pairing = Pairing()
    one_folder = Path(images).resolve() == Path(labels).resolve()
    image_files = {file for same in by_name.values() for file in same} if one_folder else set()
    files = [file for file in _files_of(Path(labels), LABEL_SUFFIXES) if file not in image_files]
    if not files:
        known = names_of_all(image for same in by_name.values() for image in same)
        for place, found in _in_subfolders(Path(labels), LABEL_SUFFIXES):
            if known & {composed(part) for part in place.relative_to(labels).parts}:
                raise InputError(
                    f"{labels}: no label map in it, but {place} with {len(found)} files for one "
                    "image; expected one label map for each image: give each nucleus a number in "
                    "it (labels[mask > 0] = number), or convert the masks as nucdet-convert "
                    "dsb2018 expects them"
                )
        raise _nothing_in(Path(labels), "label map", LABEL_SUFFIXES, f"files {_names('NAME')}")

    by_stem: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_stem[composed(stem_of(file.name))].append(file)
    there = {
        image: _stems_there(image, len(same) > 1, by_stem)
        for same in by_name.values()
        for image in same
    }
    for same in by_name.values():
        if len(same) > 1 and not all(there[image] for image in same):
            pairing.problems.append(_same_stem(same))
            continue
        for image in same:
            pairing.add(image, by_stem[there[image][0]] if there[image] else [], labels)
    if several := sum(len(there[pair.image]) > 1 for pair in pairing.pairs):
        pairing.remarks.append(
            f"{several} images have several label maps in {labels}: the first of "
            f"{', '.join(ending or 'the same stem' for ending in LABEL_ENDINGS)} was taken"
        )
    # images with the same stem have been reported already
    known = names_of_all(_files_of(Path(images), _ALL_SUFFIXES))
    for stem in sorted(set(by_stem).difference(*there.values())):
        if stem not in known and not is_output(stem, known):
            what = f"no image of that name in {images}; expected one for each label map"
            pairing.problems.append(Problem(str(by_stem[stem][0]), what, "the label map"))
    return pairing


def _files_of(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in suffixes and not file.name.startswith(".") and is_image(file)
    )
    check_distinct(files)
    return files


def _name_of(image: Path) -> str:
    return composed(stem_of(image.name)).removesuffix(_IMAGE_ENDING)


def names_of_all(images: Iterable[Path]) -> set[str]:
    """All names by which label maps may refer to these images, composed."""
    return {name for image in images for name in (_name_of(image), *names_of(image.name))}


def _stems_there(image: Path, whole_name: bool, stems: Container[str]) -> list[str]:
    """The stems, among ``stems``, of label maps of this image; the preferred one is first.

    With ``whole_name`` only label maps that contain the image's whole name count, since another
    image has the same stem.
    """
    names = [composed(image.name)] if whole_name else [_name_of(image), *names_of(image.name)]
    wanted = [name + ending for ending in LABEL_ENDINGS for name in names]
    return [stem for stem in dict.fromkeys(wanted) if stem in stems]


def is_output(stem: str, names: set[str]) -> bool:
    """Whether a file, by its stem, is a tool's output for an image with one of these names.

    The names must be :func:`nucdet.image_names.composed`.
    """
    stem = composed(stem)
    return any(stem.endswith(end) and stem.removesuffix(end) in names for end in _OUTPUTS)


def _names(stem: str) -> str:
    name = stem.removesuffix(_IMAGE_ENDING)
    endings = ", ".join(filter(None, reversed(LABEL_ENDINGS[1:])))
    return f"{stem}.png, .tif or .npy, the same with {endings}, or {name}_seg.npy"


def _listed(files: Iterable[Path]) -> str:
    return ", ".join(file.name for file in files)
