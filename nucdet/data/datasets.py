"""Registers data sets in Detectron2's catalog: those of a table and those with a dataset.yaml."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from nucdet.data.cell_types import LIVECELL_TYPES, SARTORIUS_TYPES
from nucdet.data.dataset_info import DATASET_FILE, DatasetInfo, find_datasets, fold_splits, is_fold
from nucdet.data.image_kinds import IMAGE_KINDS
from nucdet.data.io.choice import Choice
from nucdet.data.json_stream import stream_entries
from nucdet.data.manifest import check_manifest
from nucdet.errors import InputError

NUM_FOLDS = 10
# those that Detectron2 registers when it is imported
_OF_DETECTRON2 = frozenset(DatasetCatalog.list())

_AXES = {field.name for field in fields(Choice)}
_KINDS = tuple(f"{side}_{kind}" for kind in IMAGE_KINDS for side in ("without", "only"))
_SPLITS = ("train", "val", "test")
_LIVECELL = tuple(f"{part}_{split}" for part in LIVECELL_TYPES for split in _SPLITS)

DATASETS = (
    DatasetInfo("dsb2018", ("trainval", "train", "val", "test", *fold_splits(NUM_FOLDS), *_KINDS)),
    DatasetInfo("livecell", (*_SPLITS, *_LIVECELL), ("cell",)),
    DatasetInfo("livecell", tuple(f"types_{split}" for split in _SPLITS), LIVECELL_TYPES),
    DatasetInfo("sartorius", ("train", "val"), SARTORIUS_TYPES),
    DatasetInfo("synthetic", ("train", "val")),
)


def default_root() -> Path:
    """The folder of all data sets: ``$DETECTRON2_DATASETS``, else ``datasets/``."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def register_datasets(root: str | os.PathLike[str] | None = None) -> None:
    """Register ``<name>_<split>`` in Detectron2's catalog for every data set.

    These are the data sets of the table and those with a dataset.yaml under the root. No image or
    annotation is read: a JSON is loaded, and may turn out to be missing, only when its data set is
    first used. The function may be called again; the last root counts.

    Raises:
        InputError: a dataset.yaml is broken, or takes the name of another data set.
    """
    root = default_root() if root is None else Path(root)
    for info in (*DATASETS, *_own_datasets(root)):
        for split in info.splits:
            register_coco_json(
                f"{info.name}_{split}",
                info.json_file(root, split),
                root / info.name,
                info.classes,
            )


def check_own_name(info: DatasetInfo) -> None:
    """Check that a user's data set does not replace another one in the catalog.

    Raises:
        InputError: one of its splits has the name of one of nucdet's or Detectron2's data sets.
    """
    ours = {f"{other.name}_{split}" for other in DATASETS for split in other.splits}
    taken = {f"{info.name}_{split}" for split in info.splits} & (ours | _OF_DETECTRON2)
    if taken or info.name in {other.name for other in DATASETS}:
        raise InputError(
            f"data set {info.name!r}: nucdet or Detectron2 has one of that name already; choose "
            "another name"
        )


def class_names(name: str) -> list[str] | None:
    """The classes of a data set, registered or not; None if they are unknown.

    Raises:
        InputError: a dataset.yaml is broken.
    """
    if name in DatasetCatalog:
        return list(MetadataCatalog.get(name).get("thing_classes") or ()) or None
    info = dataset_of(name)
    return list(info.classes) if info else None


def dataset_of(name: str) -> DatasetInfo | None:
    """The data set that has a split of this catalog name, registered or not; None: none has.

    Raises:
        InputError: a dataset.yaml is broken.
    """
    for info in (*DATASETS, *_own_datasets(default_root())):
        if name in {f"{info.name}_{split}" for split in info.splits}:
            return info
    return None


def chosen_planes(name: str) -> dict[str, int | str]:
    """The choice with which a registered data set was converted.

    Returns:
        See :meth:`nucdet.data.io.choice.Choice.chosen`; {} if all images are used as they are.
    """
    json_file = MetadataCatalog.get(name).get("json_file")
    if json_file:
        for member, value in stream_entries(Path(json_file)):
            if member != "info":  # the first member; do not read the annotations
                break
            if isinstance(value, dict) and value.keys() <= _AXES:
                return value
    return {}


def _own_datasets(root: Path) -> list[DatasetInfo]:
    infos = find_datasets(root)
    for info in infos:
        check_own_name(info)
    return infos


def _is_own(name: str) -> bool:
    """Whether a registered data set has a dataset.yaml."""
    image_root = MetadataCatalog.get(name).get("image_root")
    return bool(image_root) and Path(image_root, DATASET_FILE).is_file()


def _is_of_fold(name: str) -> bool:
    """Whether a data set is one side of a fold."""
    return is_fold("_".join(name.split("_")[-2:]))


def register_coco_json(
    name: str, json_file: str | Path, image_root: str | Path, classes: Iterable[str] = ("nucleus",)
) -> None:
    """Register one COCO JSON under ``name``, lazily, replacing an earlier entry of that name."""
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, partial(_load, name, Path(json_file), Path(image_root)))
    MetadataCatalog.get(name).set(
        json_file=str(json_file),
        image_root=str(image_root),
        evaluator_type="coco",
        thing_classes=list(classes),
    )


def check_datasets(names: Iterable[str]) -> None:
    """Check, before any work, that data sets are registered and converted.

    Detectron2 would raise a KeyError that lists all of its own fifty data sets.

    Raises:
        InputError: a name is not in the catalog.
        FileNotFoundError: its COCO JSON is missing.
    """
    for name in names:
        if name not in DatasetCatalog:
            ours = [f"{info.name}_{{{','.join(info.splits[:4])},…}}" for info in DATASETS]
            ours += sorted(n for n in DatasetCatalog.list() if _is_own(n) and not _is_of_fold(n))
            raise InputError(
                f"data set {name!r} is not registered; nucdet knows {', '.join(ours)}; convert "
                "others (nucdet-convert labels or coco), or register them with "
                "register_coco_json"
            )
        metadata = MetadataCatalog.get(name)
        json_file = metadata.get("json_file")
        if json_file and not Path(json_file).is_file():
            raise FileNotFoundError(
                f"{json_file}: not found, but data set {name!r} needs it; convert the data first "
                f"(nucdet-convert {_converter_options(name)}) or set DETECTRON2_DATASETS"
            )


def shared_images(train: Iterable[str], test: str) -> list[str]:
    """The images that one of the data sets to train on has in common with the one to score on.

    Returns:
        Their paths, sorted; of copies of planes, those of the original files.

    Raises:
        InputError: a JSON is damaged.
    """
    trained = set().union(*(_originals(name) for name in train))
    return sorted(trained & _originals(test))


def _originals(name: str) -> set[str]:
    """The files that the images of a data set were made from."""
    metadata = MetadataCatalog.get(name)
    files: set[str] = set()
    if metadata.get("json_file"):
        for member, entry in stream_entries(Path(metadata.json_file)):
            if member == "images" and isinstance(entry, dict):
                file_name = entry.get("original") or entry.get("file_name")
                files.add(os.path.realpath(Path(metadata.get("image_root", ""), str(file_name))))
            elif files:  # do not read the annotations
                break
    return files


def _converter_options(name: str) -> str:
    """The options with which nucdet-convert writes this data set."""
    root = MetadataCatalog.get(name).image_root
    is_own = _is_own(name)
    options = f"{name.split('_')[0]} --root {root}"
    if is_own:
        options = f"labels or coco, --name {Path(root).name}"
    if _is_of_fold(name):
        options += f" --folds {'K' if is_own else NUM_FOLDS}"
    if not is_own and ("_only_" in name or "_without_" in name):
        options += " --kinds"
    return options


def _load(name: str, json_file: Path, image_root: Path) -> list[dict[str, Any]]:
    check_datasets([name])
    check_manifest(json_file)
    try:
        records = load_coco_json(str(json_file), str(image_root), name)
        kinds = _kinds(json_file)  # Detectron2 drops entries that it does not know
        return [{**record, "kind": kinds[record["image_id"]]} for record in records]
    except InputError:
        raise
    except (
        ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError, RecursionError
    ) as error:  # fmt: skip
        if isinstance(error, AssertionError):
            _check_category_names(name, json_file)
        raise InputError(
            f"{json_file}: not a COCO JSON as nucdet writes it ({type(error).__name__}: {error}); "
            "convert the data again"
        ) from error


def _check_category_names(name: str, json_file: Path) -> None:
    """Raise InputError if the categories in a JSON have other names than in the catalog.

    In this case Detectron2 fails, after reading the file, in an assertion on its own metadata.
    """
    categories = [entry for member, entry in stream_entries(json_file) if member == "categories"]
    found = [entry["name"] for entry in sorted(categories, key=lambda entry: entry["id"])]
    expected = MetadataCatalog.get(name).thing_classes
    if found != expected:
        known = DATASET_FILE if _is_own(name) else "nucdet"
        raise InputError(
            f"{json_file}: found the categories {', '.join(map(str, found))}, but {known} knows "
            f"the classes {', '.join(expected)} of {name}; name them alike, or convert the data "
            "again"
        )


def _kinds(json_file: Path) -> dict[int, str]:
    """Kind of microscopy by image id; "" if the JSON names none."""
    kinds: dict[int, str] = {}
    for member, entry in stream_entries(json_file):
        if member == "images":
            kinds[entry["id"]] = entry.get("kind") or ""
        elif kinds:  # do not read the annotations, which may be a thousand times as many
            break
    return kinds
