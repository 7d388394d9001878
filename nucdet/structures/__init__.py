"""Instance masks in memory, and their conversion from and to other formats."""

from nucdet.structures.masks import CroppedMasks

__all__ = ["CroppedMasks"]
