import base64
import io
from pathlib import Path

import numpy as np
import torch
from detectron2.structures import Instances
from PIL import Image

from nucdet.data.io.windows import ImageWindows
from nucdet.predict import Prediction
from nucdet.predict.familiarity import UNFAMILIAR
from nucdet.predict.inputs import InputFile
from nucdet.predict.options import PredictOptions
from nucdet.predict.outputs import make_outputs
from nucdet.structures import CroppedMasks


def test_a_record_holds_the_masks_and_what_the_report_shows():
    labels = np.kron([[1, 0, 2]], np.ones((9, 5), int))
    image = np.full((9, 15, 3), 40, np.uint8)
    found = Instances((9, 15), pred_masks=CroppedMasks.from_label_map(labels))
    found.scores, found.pred_classes = torch.full((2,), 0.123456789), torch.tensor([0, 1])
    names = ["one", "two"]
    prediction = Prediction(found, ImageWindows(image), class_names=names, familiarity=0.5)
    file = InputFile(Path("sub/a.png"), "sub/a.png", "sub/a")
    record = make_outputs(file, prediction, PredictOptions(Path("out"))).record
    assert np.array_equal(record.masks().to_label_map(), labels)
    assert record.size == (9, 15)
    assert record.areas == [45, 45]
    assert record.scores == [0.123457] * 2
    assert record.classes == [0, 1]
    assert (record.familiarity, record.warning) == (0.5, UNFAMILIAR)
    columns = {"id": [1, 2], "class": names, "area_px": [45, 45], "mean_intensity_r": [40, 40]}
    assert columns.items() <= record.columns.items()
    assert len(record.outlines) == len(record.colors) == 2
    head, _, data = record.thumbnail.partition(",")
    assert head == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as thumbnail:
        assert thumbnail.size == record.thumbnail_size == (15, 9)
        assert abs(np.asarray(thumbnail).astype(int) - 40).max() <= 2
