"""Config keys of center voting."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Add MODEL.CENTER_VOTING to a config, in place.

    The network and its channels are those of MODEL.SEGMENTATION, see nucdet/modeling/semantic.
    """
    voting = cfg.MODEL.CENTER_VOTING = CfgNode()
    # An output of 1 in the offset channels means this many pixels, as the network sees them. For
    # data whose nuclei are shown at another TEST.NUCLEUS_DIAMETER: about half of that diameter.
    voting.OFFSET_SCALE = 16.0
    # A pixel is foreground from this probability on. For ground truth that is drawn wider or
    # narrower than that of training.
    voting.THRESHOLD = 0.5
    # How votes are grouped, see nucdet/modeling/center_voting/grouping.py. STEPS: how often a vote
    # moves. SIGMA: the blur of the counted votes, in pixels. DEPTH: how deep the valley between two
    # centers must be, as a share of the lower one. MIN_VOTES: how many pixels a nucleus needs. For
    # nuclei that are found in pieces (take more steps, more blur, a deeper valley) or joined (take
    # less), and for debris (take more votes).
    voting.STEPS = 3
    voting.SIGMA = 1.5
    voting.DEPTH = 0.3
    voting.MIN_VOTES = 10
    # The maps are the means over several views of an image: "one", "mirror" (2 views) or "flips"
    # (4). For people who can wait two or four times as long for an image: docs/experiments.md says
    # what it brings.
    voting.VIEWS = "one"
