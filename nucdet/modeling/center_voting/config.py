"""Config keys of center voting."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Add MODEL.CENTER_VOTING to a config, in place.

    The network and its channels are those of MODEL.SEGMENTATION, see nucdet/modeling/semantic.
    """
    voting = cfg.MODEL.CENTER_VOTING = CfgNode()
    # Pixels of the network's input that correspond to an output of 1 in the offset channels. For
    # data with another TEST.NUCLEUS_DIAMETER, set it to about half of that diameter.
    voting.OFFSET_SCALE = 16.0
    # Lowest probability of a foreground pixel. For outlines that should be wider or narrower than
    # in the ground truth of the training.
    voting.THRESHOLD = 0.5
    # How votes are grouped, see nucdet/modeling/center_voting/grouping.py. STEPS: how often a vote
    # moves. SIGMA: blur of the counted votes, in pixels. DEPTH: how deep the valley between two
    # centers must be, as a share of the lower one. MIN_VOTES: smallest area of a nucleus in pixels.
    # For nuclei that are found in pieces increase the first three, for joined ones reduce them; for
    # debris that is found as nuclei increase MIN_VOTES.
    voting.STEPS = 3
    voting.SIGMA = 1.5
    voting.DEPTH = 0.3
    voting.MIN_VOTES = 10
    # Test-time augmentation: the maps are averaged over several views of an image: "one" (none),
    # "mirror" (2 views) or "flips" (4). For better masks in two or four times the time, see
    # docs/experiments.md.
    voting.VIEWS = "one"
