"""Gathers the results of all processes of a distributed evaluation in the main process."""

from __future__ import annotations

from typing import TypeVar

from detectron2.utils import comm

T = TypeVar("T")


def gather_images(per_image: dict[int, T]) -> dict[int, T] | None:
    """Results of all processes by image id, in order of the id; None outside the main process.

    An image that two processes evaluated, because the sampler pads, counts once.
    """
    comm.synchronize()
    parts = comm.gather(per_image, dst=0)
    if not comm.is_main_process():
        return None
    merged = {image_id: result for part in parts for image_id, result in part.items()}
    return dict(sorted(merged.items()))
