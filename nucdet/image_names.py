"""The names that nucdet and other tools give to the outputs of an image."""

from __future__ import annotations

from pathlib import PurePath


def stem_of(file_name: str) -> str:
    """The name without its extension; that of OME files has two parts, ``.ome.tif``.

    Example:
        >>> stem_of("plate/a.png"), stem_of("b.ome.tif"), stem_of("c.d.tif")
        ('plate/a', 'b', 'c.d')
    """
    return file_name.removesuffix(PurePath(file_name).suffix).removesuffix(".ome")


def names_of(file_name: str) -> tuple[str, str, str]:
    """The names that the outputs of an image may start with, without folders.

    Other tools remove only the last part of an extension. nucdet removes all of it, or none if two
    images, or an image and a file that covers all images, would otherwise share a name.

    Example:
        >>> names_of("plate/b.ome.tif")
        ('b.ome', 'b', 'b.ome.tif')
    """
    name = PurePath(file_name).name
    return PurePath(name).stem, stem_of(name), name
