import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from nucdet.predict.files import InputFile
from nucdet.predict.outputs import make_record
from nucdet.structures import CroppedMasks


class Found:
    """What a record needs of a prediction."""

    def __init__(self, masks):
        self.pred_masks = masks
        self.scores = np.full(len(masks), 0.123456789)
        self.pred_classes = np.arange(len(masks))
        self.familiarity, self.warning = 0.5, "look twice"


def test_a_record_holds_the_masks_and_what_the_report_shows():
    labels = np.kron([[1, 0, 2]], np.ones((9, 5), int))
    masks = CroppedMasks.from_label_map(labels)
    image = np.full((9, 15, 3), 40, np.uint8)
    file = InputFile(Path("sub/a.png"), "sub/a.png", "sub/a")
    table = pd.DataFrame({"id": [1, 2], "mean_dapi": [40.0, 40.125]})
    record = make_record(file, Found(masks), image, ["one", "two"], table)
    assert np.array_equal(record.masks().to_label_map(), labels)
    assert record.size == (9, 15)
    assert record.areas == [45, 45]
    assert record.scores == [0.123457] * 2
    assert record.classes == [0, 1]
    assert (record.familiarity, record.warning) == (0.5, "look twice")
    assert record.columns == {"id": [1, 2], "mean_dapi": [40, 40.12]}
    assert len(record.outlines) == len(record.colors) == 2
    head, _, data = record.thumbnail.partition(",")
    assert head == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as thumbnail:
        assert thumbnail.size == record.thumbnail_size == (15, 9)
        assert abs(np.asarray(thumbnail).astype(int) - 40).max() <= 2
