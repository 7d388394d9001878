import base64
import io
from pathlib import Path

import numpy as np
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


def test_a_record_holds_the_masks_and_a_thumbnail():
    labels = np.kron([[1, 0, 2]], np.ones((9, 5), int))
    masks = CroppedMasks.from_label_map(labels)
    image = np.full((9, 15, 3), 40, np.uint8)
    file = InputFile(Path("sub/a.png"), "sub/a.png", "sub/a")
    record = make_record(file, Found(masks), image, ["one", "two"])
    assert np.array_equal(record.masks().to_label_map(), labels)
    assert record.size == (9, 15)
    assert record.areas == [45, 45]
    assert record.scores == [0.123457] * 2
    assert record.classes == [0, 1]
    assert (record.familiarity, record.warning) == (0.5, "look twice")
    head, _, data = record.thumbnail.partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as thumbnail:
        assert thumbnail.size == record.thumbnail_size == (8 * 15, 8 * 9)
