"""Counts the kinds of errors in an image: each nucleus and each predicted mask gets one verdict."""

from __future__ import annotations

import numpy as np

from nucdet.evaluation.matching import Intersections, Matching, match_pairs

# names of the counts in tables and JSON: the verdicts on nuclei, then those on masks
NUCLEUS_VERDICTS = ("found", "merged_nuclei", "split", "badly_outlined", "missed")
MASK_VERDICTS = ("found", "merged", "split_masks", "badly_outlined", "false")


def count_errors(intersections: Intersections, matching: Matching) -> dict[str, int]:
    """Count the nuclei and the predicted masks of one image by their verdicts.

    A mask *holds* a nucleus when more than half of the nucleus' pixels are in it; a nucleus holds
    a mask when more than half of the mask's pixels are in it. The first verdict that fits counts:

    ==================  ===========================================================================
    ``found``           matched with an IoU above 1/2 (a nucleus and a mask)
    ``merged``          a mask, not found, that holds at least two nuclei
    ``merged_nuclei``   a nucleus, not found, held by a mask that holds at least two nuclei
                        (that mask may itself be found, as the outline of another nucleus)
    ``split``           a nucleus, not found, that holds at least two masks
    ``split_masks``     a mask, not found, held by a nucleus that holds at least two masks
                        (the nucleus may be found: then the mask is a second one, or a crumb)
    ``badly_outlined``  of the remaining ones, a nucleus and a mask with an IoU above 1/10, paired
                        one to one
    ``missed``          a nucleus to which nothing of the above applies
    ``false``           a mask to which nothing of the above applies
    ==================  ===========================================================================

    The number of nuclei is found + merged_nuclei + split + badly_outlined + missed, that of masks
    found + merged + split_masks + badly_outlined + false.
    """
    true, pred, pixels = intersections.true, intersections.pred, intersections.pixels
    n_true, n_pred = matching.n_true, matching.n_pred
    found_true, found_pred = np.zeros(n_true, bool), np.zeros(n_pred, bool)
    partner = matching.partner[0]
    found_true[partner >= 0] = True
    found_pred[partner[partner >= 0]] = True

    in_mask = 2 * pixels > intersections.true_areas[true]
    in_nucleus = 2 * pixels > intersections.pred_areas[pred]
    merging = np.bincount(pred[in_mask], minlength=n_pred) >= 2
    splitting = np.bincount(true[in_nucleus], minlength=n_true) >= 2

    merged_pred = merging & ~found_pred
    merged_true = _any_of(true[in_mask & merging[pred]], n_true) & ~found_true
    split_true = splitting & ~found_true & ~merged_true
    split_pred = _any_of(pred[in_nucleus & splitting[true]], n_pred) & ~found_pred & ~merged_pred

    left_true = ~(found_true | merged_true | split_true)
    left_pred = ~(found_pred | merged_pred | split_pred)
    near = intersections.pairs_above(1, 10) & left_true[true] & left_pred[pred]
    outlined = len(match_pairs(true[near], pred[near], n_true, n_pred)[0])
    return {
        "found": int(found_true.sum()),
        "missed": int(left_true.sum()) - outlined,
        "false": int(left_pred.sum()) - outlined,
        "merged": int(merged_pred.sum()),
        "merged_nuclei": int(merged_true.sum()),
        "split": int(split_true.sum()),
        "split_masks": int(split_pred.sum()),
        "badly_outlined": outlined,
    }


def _any_of(indices: np.ndarray, size: int) -> np.ndarray:
    """(size,) bool: which numbers occur among ``indices``."""
    present = np.zeros(size, bool)
    present[indices] = True
    return present
