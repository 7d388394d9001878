from functools import partial

import numpy as np
import pytest

from nucdet.modeling.center_voting.grouping import group_pixels as group
from nucdet.modeling.center_voting.grouping import nearest_labels
from nucdet.modeling.center_voting.targets import FOREGROUND, OFFSET_Y, center_targets
from nucdet.structures import CroppedMasks

group_pixels = partial(group, steps=3, sigma=1.5, depth=0.3, min_votes=8)


def maps_of(labels):
    maps = center_targets(CroppedMasks.from_label_map(labels))
    return maps[FOREGROUND] > 0, maps[OFFSET_Y : OFFSET_Y + 2].copy()


def touching_discs(count=5, radius=8):
    """A row of discs, each cutting into the one before."""
    labels = np.zeros((2 * radius + 5, count * 14 + 8), np.int32)
    rows, columns = np.indices(labels.shape)
    for i in range(count):
        inside = np.hypot(rows - radius - 2, columns - (radius + 2 + 14 * i)) <= radius
        labels[inside & (labels == 0)] = i + 1
    return labels


def same_partition(one, other):
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return len(pairs[0]) == len(np.unique(one)) == len(np.unique(other))


def test_true_maps_give_the_true_nuclei():
    labels = touching_discs()
    found = group_pixels(*maps_of(labels))
    assert found.dtype == np.int32 and same_partition(found, labels)


def test_noisy_votes_are_gathered():
    labels = touching_discs()
    foreground, offsets = maps_of(labels)
    offsets += np.random.default_rng(0).normal(0, 1.5, offsets.shape).astype(np.float32)
    found = group_pixels(foreground, offsets)
    assert found.max() == 5
    for number in range(1, 6):
        votes = np.bincount(found[labels == number])
        assert votes.max() > 0.9 * votes.sum()


def test_steps_gather_an_elongated_nucleus_whose_ends_vote_for_places_on_the_way():
    labels = np.zeros((16, 90), np.int32)
    labels[4:12, 4:86] = 1
    foreground, offsets = maps_of(labels)
    # what a network does that cannot see the other end: the ends vote for places on the way
    x = np.arange(90)
    waypoint = np.where(x < 25, 25, np.where(x > 65, 65, 45))
    offsets[1] = np.where(foreground, waypoint - x, 0)
    assert group_pixels(foreground, offsets, steps=1).max() == 3
    assert group_pixels(foreground, offsets, steps=2).max() == 1


def test_few_votes_make_no_nucleus_and_each_label_is_one_piece():
    labels = touching_discs(2)
    labels[0, 0] = 3  # a speck that votes for itself
    foreground, offsets = maps_of(labels)
    # a piece of the second nucleus far away from it, and free of it
    foreground[-2:, :3] = True
    offsets[:, -2:, :3] = np.array([-8, 24])[:, None, None]
    found = group_pixels(foreground, offsets, min_votes=10)
    assert found.max() == 2 and found[0, 0] == 0 and not found[-2:, :3].any()


@pytest.mark.parametrize("vote", [(5, -40), (5, 90), (-40, 3), (40, 3)])
def test_pixels_without_a_center_go_to_the_nearest_nucleus(vote):
    labels = touching_discs(2)
    foreground, offsets = maps_of(labels)
    offsets[:, 10, 3] = vote  # beyond the image
    found = group_pixels(foreground, offsets)
    assert found[10, 3] == found[10, 4] > 0


def test_nothing_in_nothing_out():
    empty = np.zeros((7, 9), bool)
    assert not group_pixels(empty, np.zeros((2, 7, 9), np.float32)).any()


def test_nearest_labels():
    labels = np.zeros((1, 9), np.int32)
    labels[0, [1, 6]] = 4, 2
    assert nearest_labels(labels, 2.0).tolist() == [[4, 4, 4, 4, 2, 2, 2, 2, 2]]
    assert nearest_labels(labels, 1.0).tolist() == [[4, 4, 4, 0, 0, 2, 2, 2, 0]]
