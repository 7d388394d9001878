"""The table of nuclei that were seen in several depths: one row for each, with its volume."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from nucdet.export import read_csv_text
from nucdet.predict.plane_records import StoredPlane

if TYPE_CHECKING:
    import pandas as pd

# sums over the pixels of a section, which make sense as sums over a volume
_SUMS = ("integrated_intensity", "net_integrated_intensity")


def table_of_nuclei(planes: Iterable[StoredPlane], z_step: float | None = None) -> pd.DataFrame:
    """Join the rows of each nucleus, which have the same ``id``.

    Args:
        planes: at least one; their tables are those of :func:`nucdet.predict.measurements.measure`.
            Iterated over once.
        z_step: the distance of two depths, µm; None: unknown.

    Returns:
        One row for each nucleus, in the order of ``id``: the measurements of its largest section,
        whose depth is ``z``. After this column: ``z_first``, ``z_last`` and ``sections``, their
        number; ``volume_voxels``, the sum of their pixels; ``volume_um3``, if the pixel size and
        ``z_step`` are known; and the sums of the integrated intensities, as
        ``volume_integrated_intensity`` … ``touches_border`` is true if it is for any section.
    """
    import pandas as pd  # only here, because a prediction starts faster without it

    tables, pixel_size = [], None
    for plane in planes:
        table = read_csv_text(plane.table)
        tables.append(table.assign(voxels=np.array(plane.record.areas, np.int64)))
        pixel_size = plane.record.pixel_size
    # an empty table has columns without a type, which would spread
    sections = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
    voxels = sections.pop("voxels")
    groups = sections["id"].rank(method="dense").to_numpy(np.int64) - 1
    # of equal sections the first
    order = np.lexsort((-voxels, groups))
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    nuclei = sections.iloc[order[starts]].reset_index(drop=True)

    def total(values: pd.Series) -> np.ndarray:
        return np.bincount(groups, values, len(nuclei))  # NaN stays NaN, unlike in pandas' sums

    by_nucleus = sections.groupby(groups)
    nuclei["touches_border"] = by_nucleus["touches_border"].any()
    volume = total(voxels).astype(np.int64)
    more = {
        "z_first": by_nucleus["z"].min(),
        "z_last": by_nucleus["z"].max(),
        "sections": by_nucleus.size(),
        "volume_voxels": volume,
    }
    if pixel_size is not None and z_step is not None:
        more["volume_um3"] = volume * (pixel_size**2 * z_step)
    sums = [name for name in sections.columns if name.startswith(_SUMS)]
    more |= {f"volume_{name}": total(sections[name]) for name in sums}
    for i, (name, values) in enumerate(more.items(), nuclei.columns.get_loc("z") + 1):
        nuclei.insert(i, name, values)
    return nuclei
