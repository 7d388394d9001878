import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from nucdet.evaluation.ground_truth import TrueImage
from nucdet.evaluation.report import as_json, render, result_tables, write_per_image
from nucdet.evaluation.scoring import score_image, summarize
from nucdet.structures import CroppedMasks


def image(number, kind=""):
    return TrueImage(number, f"somewhere/img{number}.png", 4, 40, kind)


@pytest.fixture
def results(spans):
    """Three images, worked out by hand.

    1. (grey) one of two nuclei found exactly: precision 1/(1+0+1) at every threshold
    2. (purple) IoU 6/10 of the only nucleus: 1 at 0.50 and 0.55, 0 from 0.60 on; plus a false mask
    3. (grey) neither nuclei nor predictions: 1
    """
    return [
        score_image(image(1, "grey"), spans((0, 0, 9), (1, 0, 9)), spans((0, 0, 9))),
        score_image(image(2, "purple"), spans((0, 0, 10)), spans((0, 0, 6), (2, 0, 9))),
        score_image(image(3, "grey"), spans(), spans()),
    ]


def test_scores_of_images(results):
    assert [r.score for r in results] == pytest.approx([0.5, 0.2 * 0.5, 1])
    assert [(r.n_true, r.n_pred, r.tp[0], r.tp[5]) for r in results] == [
        (2, 1, 1, 1),
        (1, 2, 1, 0),
        (0, 0, 0, 0),
    ]


def test_metrics_are_means_over_images(results):
    metrics = summarize(results)
    assert metrics["mAP"] == pytest.approx(100 * (0.5 + 0.1 + 1) / 3)
    assert metrics["AP50"] == pytest.approx(100 * (0.5 + 0.5 + 1) / 3)
    assert metrics["AP95"] == pytest.approx(100 * (0.5 + 0 + 1) / 3)
    assert metrics["precision-50"] == pytest.approx(100 * (1 + 1 / 2 + 1) / 3)
    assert metrics["recall-50"] == pytest.approx(100 * (1 / 2 + 1 + 1) / 3)
    assert metrics["F1-50"] == pytest.approx(100 * (2 / 3 + 2 / 3 + 1) / 3)
    assert metrics["F1-60"] == pytest.approx(100 * (2 / 3 + 0 + 1) / 3)
    assert [k for k in metrics if k.startswith("AP") and "-" not in k] == [
        f"AP{p}" for p in range(50, 100, 5)
    ]
    assert all(isinstance(v, float) for v in metrics.values())


def test_one_empty_side_is_zero_everywhere(spans):
    something, nothing = spans((0, 0, 5)), spans()
    for true, pred in ((something, nothing), (nothing, something)):
        metrics = summarize([score_image(image(1), true, pred)])
        for key in ("mAP", "precision-50", "recall-50", "F1-50"):
            assert metrics[key] == 0


def test_kinds_of_images(results):
    metrics = summarize(results)
    assert metrics["mAP-grey"] == pytest.approx(75)
    assert metrics["mAP-purple"] == pytest.approx(10)
    without_kind = replace(results[0], image=image(1))
    assert not any(key.startswith("mAP-") for key in summarize([without_kind]))


def test_nucleus_sizes():
    def squares(*sides):
        dense = np.zeros((len(sides), 60, 200), bool)
        for i, side in enumerate(sides):
            dense[i, :side, 40 * i : 40 * i + side] = True
        return CroppedMasks.from_dense(dense)

    # 11² = 121 < 128 <= 12² = 144; 22² = 484 < 512 <= 23² = 529; the second medium one is missed,
    # the large one is found with an IoU of 529/676 = 0.78, above 0.50 … 0.75: six thresholds
    truth, found = squares(11, 12, 22, 26), squares(11, 12, 5, 23)
    result = score_image(TrueImage(1, "a.png", 60, 200), truth, found)
    assert result.size_true.tolist() == [1, 2, 1]
    metrics = summarize([result])
    assert (metrics["recall50-small"], metrics["AR-small"]) == (100, 100)
    assert (metrics["recall50-medium"], metrics["AR-medium"]) == (50, 50)
    assert (metrics["recall50-large"], metrics["AR-large"]) == (100, pytest.approx(60))


def test_sizes_without_nuclei_are_left_out(results):
    sizes = [key for key in summarize(results) if key.startswith("recall50-")]
    assert sizes == ["recall50-small"]


def test_masks_without_pixels_do_not_count(spans):
    result = score_image(image(1), spans((0, 0, 5), (1, 3, 3)), spans((2, 2, 2), (0, 0, 5)))
    assert (result.n_true, result.n_pred, result.score) == (1, 1, 1)


def test_errors_are_summed(results):
    metrics = summarize(results)
    assert (metrics["errors-found"], metrics["errors-missed"], metrics["errors-false"]) == (2, 1, 1)


def test_per_image_csv(results, tmp_path):
    write_per_image(results, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["id", "kind", "n_true", "n_pred", "matched50", "matched75", "score"],
        ["img1", "grey", "2", "1", "1", "1", "50.0000"],
        ["img2", "purple", "1", "2", "1", "0", "10.0000"],
        ["img3", "grey", "0", "0", "0", "0", "100.0000"],
    ]


def test_json(results):
    content = json.loads(json.dumps(as_json(results)))
    assert content["images"] == 3
    assert content["kaggle"]["mAP"] == pytest.approx(160 / 3)
    assert content["errors"]["missed"] == 1


def test_tables_show_score_kinds_sizes_errors(results):
    text = render(result_tables(results))
    assert "Kaggle score (mAP) 53.33 over 3 images" in text
    for row in ("purple 1 1 10.00", "small 0-127 3 66.7 40.0", "missed 1", "all 3 3"):
        assert any(" ".join(line.split()) == row for line in text.splitlines()), row


def test_a_score_without_a_nucleus_is_no_score(spans, results):
    false = score_image(image(1), spans(), spans((0, 0, 9)))
    doubt = "none of which has a nucleus in the ground truth"
    assert doubt in " ".join(render(result_tables([false])).split())
    assert doubt not in " ".join(render(result_tables([false, *results])).split())


def test_tables_fit_a_terminal(spans):
    perfect = score_image(image(1, "a kind with a rather long name"), *[spans((0, 0, 9))] * 2)
    text = render(result_tables([perfect]))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    # ten thresholds in four rows, one size class twice, the scores of all images and of the kind
    assert text.count("100.0") == 44


def test_a_name_is_no_formula_for_a_spreadsheet(results, tmp_path):
    results[0] = replace(results[0], image=TrueImage(1, "=1+1.png", 4, 40, "@kind"))
    write_per_image(results[:1], tmp_path / "out.csv")
    assert ",'=1+1,'@kind," in "," + (tmp_path / "out.csv").read_text().splitlines()[1]
