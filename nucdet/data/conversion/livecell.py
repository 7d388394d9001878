"""Converts the official release of LIVECell (Edlund et al., Nature Methods 2021) to COCO JSON.

Expected under the root: ``images/livecell_train_val_images`` and ``images/livecell_test_images``,
flat or with a folder for each cell type; ``livecell_coco_{train,val,test}.json`` in the root or in
``annotations/LIVECell``; and optionally ``LIVECell_single_cells/<type>/*.json`` in the root or in
``annotations``. Without the latter, the splits of a cell type are taken from the whole ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from nucdet.data.cell_types import LIVECELL_TYPES
from nucdet.data.conversion.coco_json import ImageEntry, json_name, write_coco
from nucdet.data.conversion.livecell_truth import TruthReader
from nucdet.data.conversion.report import ConversionReport
from nucdet.data.manifest import write_manifest
from nucdet.errors import InputError
from nucdet.files import write_atomically

# image folder of each split
SPLITS = {
    "train": "livecell_train_val_images",
    "val": "livecell_train_val_images",
    "test": "livecell_test_images",
}
_SUFFIXES = (".tif", ".tiff", ".png")
_EXPECTED = (
    "expected the official release: images/livecell_train_val_images, images/livecell_test_images "
    "and livecell_coco_{train,val,test}.json (datasets/README.md)"
)


def convert_livecell(
    root: str | os.PathLike[str],
    *,
    by_type: bool = False,
    allow_missing: bool = False,
    skip_invalid: bool = False,
) -> dict[str, tuple[int, int]]:
    """Write ``<root>/annotations/instances_<split>.json`` for every split of the release.

    Splits: train, val, test and ``<type>_{train,val,test}`` with the class ``cell``, or
    ``types_{train,val,test}`` with the cell types as classes. Every image's ``kind`` is its cell
    type. One JSON is read after the other, and splits are written under temporary names; at the end
    all of them get their final names, or none.

    Args:
        root: folder of the release.
        by_type: use the cell types as classes.
        allow_missing: leave out images that are listed but missing instead of failing.
        skip_invalid: leave out invalid files and annotations instead of failing.

    Returns:
        Numbers of images and of cells of each split.

    Raises:
        FileNotFoundError: there is no such root.
        InputError: it is not LIVECell, or contains invalid files.
    """
    root = Path(root)
    sources = _find_sources(root)
    image_files = {folder: _find_images(root / "images" / folder) for folder in SPLITS.values()}
    report = ConversionReport(skip_invalid)
    reader = TruthReader(root, report, allow_missing)
    counts: dict[str, tuple[int, int]] = {}
    with ExitStack() as staged:
        for name, path in sources.items():
            if by_type and name not in SPLITS:
                continue
            images = reader.read(path, image_files[SPLITS[name.split("_")[-1]]])
            for split, members in _splits_of(name, images, by_type, sources):
                target = root / "annotations" / json_name(split)
                temporary = staged.enter_context(write_atomically(target))
                classes = LIVECELL_TYPES if by_type else ("cell",)
                write_coco(temporary, members, f"LIVECell {split}", classes)
                counts[split] = len(members), sum(len(p.annotations) for p in members)
        report.finish()
        if not counts:
            raise InputError(f"{root}: none of the images of its JSONs is there; {_EXPECTED}")
    # the splits are those of the release, so earlier ones, with or without cell types, stay valid
    write_manifest(root / "annotations", map(json_name, counts), keep=True)
    return counts


def _find_sources(root: Path) -> dict[str, Path]:
    """The JSON of each split; the key of a single cell type's is ``<type>_<split>``."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; {_EXPECTED}")
    sources = {}
    for split in SPLITS:
        name = f"livecell_coco_{split}.json"
        for path in (root / name, root / "annotations" / "LIVECell" / name):
            if path.is_file():
                sources.setdefault(split, path)
    for folder in (root, root / "annotations"):
        for path in sorted((folder / "LIVECell_single_cells").glob("*/*.json")):
            cell_type, split = path.parent.name.lower(), path.stem.split("_")[-1]
            if cell_type in LIVECELL_TYPES and split in SPLITS:
                sources.setdefault(f"{cell_type}_{split}", path)
    if not sources:
        raise InputError(f"{root}: no livecell_coco_*.json in it; {_EXPECTED}")
    return sources


def _find_images(folder: Path) -> dict[str, Path]:
    """Image files in a folder and its subfolders by name; raises InputError if two share one."""
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."):
            other = files.setdefault(path.name, path)
            if other != path:
                raise InputError(f"{path}: {other} has the same name; keep one of the two")
    return files


def _splits_of(
    name: str, images: list[ImageEntry], by_type: bool, sources: dict[str, Path]
) -> Iterator[tuple[str, list[ImageEntry]]]:
    """The splits made from one JSON, without empty ones."""
    if by_type:
        for image in images:
            for annotation in image.annotations:
                annotation["category_id"] = 1 + LIVECELL_TYPES.index(image.kind)
        splits = {f"types_{name}": images}
    else:
        splits = {name: images}
        if name in SPLITS:
            for cell_type in LIVECELL_TYPES:
                if f"{cell_type}_{name}" not in sources:
                    members = [p for p in images if p.kind == cell_type]
                    splits[f"{cell_type}_{name}"] = members
    yield from ((split, members) for split, members in splits.items() if members)
