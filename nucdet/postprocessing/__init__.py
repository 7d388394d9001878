"""Turns the output of a network into instances that share no pixel."""

from nucdet.postprocessing.overlap import OverlapElimination, eliminate_overlaps

__all__ = ["OverlapElimination", "eliminate_overlaps"]
