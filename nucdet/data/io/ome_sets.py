"""OME-TIFFs whose planes are divided among several files.

All of them have the metadata of the whole, and tifffile reads the whole from any of them.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import tifffile


def files_of_set(path: Path, metadata: str | None) -> list[Path]:
    """The files that hold the planes of the scenes of which an OME-TIFF holds some.

    Args:
        path: the file.
        metadata: its OME-XML, or None.

    Returns:
        Those that exist, in the order of the metadata; only ``path`` if each file holds a single
        plane, as these are images of their own.
    """
    try:
        root = ElementTree.fromstring(metadata or "")
    except ElementTree.ParseError:
        return [path]
    scenes = [image.findall("{*}Pixels/{*}TiffData/{*}UUID") for image in root.iterfind("{*}Image")]
    # files may have been renamed, so that only their ids tell which of them this one is
    own = root.get("UUID") or next(
        (
            uuid.text
            for uuids in scenes
            for uuid in uuids
            if uuid.get("FileName", "").lower() == path.name.lower()
        ),
        None,
    )
    shared = [uuid for uuids in scenes if own in [u.text for u in uuids] for uuid in uuids]
    if max(Counter(uuid.text for uuid in shared).values(), default=1) == 1:
        return [path]
    names = {uuid.text: uuid.get("FileName", "") for uuid in shared}
    files = [path if i == own else path.parent / name for i, name in names.items()]
    return [file for file in files if file.is_file()]


def without_repetitions(paths: list[Path]) -> list[Path]:
    """Leave out the OME-TIFFs whose planes are read from one that is named before in their set.

    Files that cannot be read are kept.
    """
    given = set(paths)
    kept = []
    for path in paths:
        members = _members(path) if path.stem.lower().endswith(".ome") else [path]
        if next((file for file in members if file in given), path) == path:
            kept.append(path)
    return kept


def _members(path: Path) -> list[Path]:
    try:
        with tifffile.TiffFile(path) as tiff:
            return files_of_set(path, tiff.ome_metadata)
    # for damaged files, decoders may raise nearly anything; reading will report it
    except Exception:
        return [path]
