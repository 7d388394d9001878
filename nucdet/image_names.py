"""The names by which the outputs of an image are called, by nucdet and by other tools."""

from __future__ import annotations

from pathlib import PurePath


def stem_of(file_name: str) -> str:
    """Without its ending; that of OME files has two parts, ``.ome.tif``.

    Example:
        >>> stem_of("plate/a.png"), stem_of("b.ome.tif"), stem_of("c.d.tif")
        ('plate/a', 'b', 'c.d')
    """
    return file_name.removesuffix(PurePath(file_name).suffix).removesuffix(".ome")


def names_of(file_name: str) -> tuple[str, str, str]:
    """What the outputs of an image may be called, without folders.

    Other tools take only the last part of an ending off. nucdet takes all of it, or none where two
    images, or an image and a file over all images, would share a name.

    Example:
        >>> names_of("plate/b.ome.tif")
        ('b.ome', 'b', 'b.ome.tif')
    """
    name = PurePath(file_name).name
    return PurePath(name).stem, stem_of(name), name
