"""The table of data sets and their entry in Detectron2's catalog."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from nucdet.data.cell_types import LIVECELL_TYPES, SARTORIUS_TYPES
from nucdet.data.conversion.json_stream import stream_entries
from nucdet.data.picture_kinds import PICTURE_KINDS
from nucdet.errors import InputError

NUM_FOLDS = 10


@dataclass(frozen=True)
class DatasetInfo:
    """One data set: its folder under the root, its splits and its classes in order of their id."""

    name: str
    splits: tuple[str, ...]
    classes: tuple[str, ...] = ("nucleus",)

    def json_file(self, root: Path, split: str) -> Path:
        """Where the converter puts the COCO JSON of a split."""
        return root / self.name / "annotations" / f"instances_{split}.json"


_FOLDS = tuple(f"fold{k}_{part}" for k in range(NUM_FOLDS) for part in ("train", "val"))
_KINDS = tuple(f"{side}_{kind}" for kind in PICTURE_KINDS for side in ("without", "only"))
_SPLITS = ("train", "val", "test")
_LIVECELL = tuple(f"{part}_{split}" for part in LIVECELL_TYPES for split in _SPLITS)

DATASETS = (
    DatasetInfo("dsb2018", ("trainval", "train", "val", "test", *_FOLDS, *_KINDS)),
    DatasetInfo("livecell", (*_SPLITS, *_LIVECELL), ("cell",)),
    DatasetInfo("livecell", tuple(f"types_{split}" for split in _SPLITS), LIVECELL_TYPES),
    DatasetInfo("sartorius", ("train", "val"), SARTORIUS_TYPES),
    DatasetInfo("synthetic", ("train", "val")),
)


def default_root() -> Path:
    """The folder of all data sets: ``$DETECTRON2_DATASETS``, else ``datasets/``."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def register_datasets(root: str | os.PathLike[str] | None = None) -> None:
    """Register ``<name>_<split>`` for every data set of the table in Detectron2's catalog.

    Reads no file: a JSON is loaded when its data set is first used, and only then a missing one is
    an error. May be called again; the newest root counts.
    """
    root = default_root() if root is None else Path(root)
    for info in DATASETS:
        for split in info.splits:
            register_coco_json(
                f"{info.name}_{split}",
                info.json_file(root, split),
                root / info.name,
                info.classes,
            )


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
    """Complain about data sets that are not registered or not converted yet, before any work.

    Detectron2 would raise a KeyError that lists all of its own fifty data sets.

    Raises:
        InputError: the catalog does not know the name.
        FileNotFoundError: its COCO JSON is not there.
    """
    for name in names:
        if name not in DatasetCatalog:
            ours = [f"{info.name}_{{{','.join(info.splits[:4])},…}}" for info in DATASETS]
            raise InputError(
                f"data set {name!r} is not registered; nucdet knows {', '.join(ours)}; "
                "register others with register_coco_json"
            )
        metadata = MetadataCatalog.get(name)
        json_file = metadata.get("json_file")
        if json_file and not Path(json_file).is_file():
            raise FileNotFoundError(
                f"{json_file}: not found, but data set {name!r} needs it; convert the data first "
                f"(tools/convert_dataset.py {name.split('_')[0]} --root {metadata.image_root}"
                f"{_converter_options(name)}) "
                "or set DETECTRON2_DATASETS"
            )


def _converter_options(name: str) -> str:
    """What else the converter must be told to write this data set."""
    if "_fold" in name:
        return f" --folds {NUM_FOLDS}"
    return " --kinds" if "_only_" in name or "_without_" in name else ""


def _load(name: str, json_file: Path, image_root: Path) -> list[dict]:
    check_datasets([name])
    try:
        records = load_coco_json(str(json_file), str(image_root), name)
        kinds = _kinds(json_file)  # Detectron2 leaves out what it does not know
        return [{**record, "kind": kinds[record["image_id"]]} for record in records]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{json_file}: not a COCO JSON as nucdet writes it ({type(error).__name__}: {error}); "
            "convert the data again"
        ) from error


def _kinds(json_file: Path) -> dict[int, str]:
    """Kind of microscopy by id of the image, "" where the JSON names none."""
    kinds: dict[int, str] = {}
    for member, entry in stream_entries(json_file):
        if member == "images":
            kinds[entry["id"]] = entry.get("kind") or ""
        elif kinds:  # the annotations behind them may be a thousand times as many
            break
    return kinds
