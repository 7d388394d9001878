"""Config keys of center voting."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Add MODEL.CENTER_VOTING to a config, in place.

    The network and its channels are those of MODEL.SEGMENTATION, see nucdet/modeling/semantic.
    """
    voting = cfg.MODEL.CENTER_VOTING = CfgNode()
    # Pixels, as the network sees them, that an output of 1 in the offset channels means. For data
    # whose nuclei are shown at another TEST.NUCLEUS_DIAMETER: about half of that.
    voting.OFFSET_SCALE = 16.0
    # A pixel is foreground from this probability on. For ground truth that is drawn wider or
    # narrower than that of training.
    voting.THRESHOLD = 0.5
    # How votes are grouped, see nucdet/modeling/center_voting/grouping.py: how often a vote moves,
    # the blur of the votes in pixels, how deep the valley between two centers must be as a share of
    # the lower one, and how many votes a center needs. For nuclei that come out in pieces (more
    # steps, more blur, a deeper valley) or joined (less), and for debris (more votes).
    voting.STEPS = 3
    voting.SIGMA = 1.5
    voting.DEPTH = 0.3
    voting.MIN_VOTES = 10
    # The maps are the mean over these looks at an image: "one", "mirror" (2), "flips" (4). For
    # whoever has the time.
    voting.VIEWS = "one"
