"""Makes instances that share no pixel of the output of a network."""

from nucdet.postprocessing.overlap import OverlapElimination, eliminate_overlaps

__all__ = ["OverlapElimination", "eliminate_overlaps"]
