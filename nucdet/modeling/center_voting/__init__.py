"""Center voting: each pixel says where its nucleus has its center (no boxes, no proposals)."""

from nucdet.modeling.center_voting.segmentor import CenterVotingSegmentor

__all__ = ["CenterVotingSegmentor"]
