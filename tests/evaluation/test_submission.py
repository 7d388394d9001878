import pytest

from nucdet.errors import InputError
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.evaluation.predictions_io import read_predictions
from nucdet.evaluation.submission import SubmissionWriter


def written(writer, inputs, outputs, folder):
    writer.reset()
    writer.process(inputs, outputs)
    assert writer.evaluate() == {}
    return folder / "submission.csv"


def test_dsb_counts_down_the_columns(spans, as_output, inputs, tmp_path):
    masks = spans((0, 0, 2), (1, 0, 1), size=(2, 3))
    writer = SubmissionWriter(str(tmp_path))
    path = written(writer, inputs(2, 1), [as_output(spans()), as_output(masks)], tmp_path)
    # 2×3 image, numbered from 1 down the columns: 1 3 5 / 2 4 6; images sorted, one without masks
    assert path.read_text() == "ImageId,EncodedPixels\nimg1,1 1 3 1\nimg1,2 1\nimg2,\n"


def test_sartorius_counts_along_the_rows(spans, as_output, inputs, tmp_path):
    masks = spans((0, 0, 2), (1, 0, 1), size=(2, 3))
    writer = SubmissionWriter(str(tmp_path), "sartorius")
    path = written(writer, inputs(2, 1), [as_output(spans()), as_output(masks)], tmp_path)
    assert path.read_text() == "id,predicted\nimg1,1 2\nimg1,4 1\nimg2,\n"


@pytest.mark.parametrize("format_name", ["dsb", "sartorius"])
def test_reading_back_gives_the_same_masks(
    make_truth, spans, as_output, inputs, tmp_path, format_name
):
    images = [spans((0, 0, 9), (1, 3, 40), (3, 39, 40)), spans(), spans((2, 5, 6), size=(7, 11))]
    truth = GroundTruth(make_truth(*images))
    writer = SubmissionWriter(str(tmp_path), format_name)
    path = written(writer, inputs(1, 2, 3), [as_output(m) for m in images], tmp_path)
    for masks, prediction in zip(images, read_predictions(path, truth), strict=True):
        assert prediction.masks.to_dense().tolist() == masks.to_dense().tolist()
        assert prediction.scores is None


def test_overlapping_masks_are_refused(spans, as_output, inputs, tmp_path):
    writer = SubmissionWriter(str(tmp_path))
    with pytest.raises(InputError, match=r"img1\.png: .* overlap.*OVERLAP_ELIMINATION"):
        writer.process(inputs(1), [as_output(spans((0, 0, 9), (0, 8, 12)))])


def test_two_images_of_one_stem_are_refused(spans, as_output, tmp_path):
    one, two = ({"image_id": i, "file_name": f"{i}/a.png"} for i in (1, 2))
    output = as_output(spans((0, 0, 9)))
    writer = SubmissionWriter(str(tmp_path))
    writer.process([one, one], [output, output])  # the same image again is no second one
    with pytest.raises(InputError, match=r"2/a\.png: 1/a\.png has the same stem"):
        writer.process([two], [output])
    writer.reset()
    writer.process([two], [output])
    # as where another process had the other image
    writer._rows[1] = ("1/a.png", [""])
    with pytest.raises(InputError, match="has the same stem"):
        writer.evaluate()
    assert not list(tmp_path.iterdir())
