"""How instance masks are held in memory, and every form they are read from and written to."""

from nucdet.structures.masks import CroppedMasks

__all__ = ["CroppedMasks"]
