import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.evaluation.build import build_evaluator
from nucdet.evaluation.offline import score_files
from nucdet.evaluation.report import as_json


@pytest.fixture
def case(make_truth, spans, as_output, inputs):
    """Two images; in the first a small mask lies across the larger one that found the nucleus."""
    path = make_truth(spans((0, 0, 12), (1, 0, 9)), spans((0, 0, 9)))
    outputs = [
        as_output(spans((0, 0, 12), (0, 10, 16), (2, 0, 3)), [0.5, 0.9, 0.1]),
        as_output(spans((0, 0, 6))),
    ]
    return path, inputs(1, 2), outputs


def run(case, folder, *overrides):
    _, inputs, outputs = case
    cfg = load_config(overrides=["OUTPUT_DIR", str(folder), *overrides])
    evaluator = build_evaluator(cfg, "toy_val")
    evaluator.reset()
    evaluator.process(inputs, outputs)
    return evaluator.evaluate()


def test_overlaps_are_eliminated_before_all_evaluators(case, tmp_path):
    names = "('coco', 'kaggle', 'submission')"
    results = run(case, tmp_path, "TEST.EVALUATORS", names)
    assert list(results) == ["bbox", "segm", "kaggle"]
    # the larger mask stays whole: one found of two, two false: 1/4; then IoU 6/9: 0.50 … 0.65
    assert results["kaggle"]["mAP"] == pytest.approx(100 * (1 / 4 + 4 / 10) / 2)
    folder = tmp_path / "inference" / "toy_val"
    assert sorted(p.name for p in folder.iterdir()) == [
        "coco_instances_results.json",
        "kaggle_per_image.csv",
        "submission.csv",
    ]


def test_priority_comes_from_the_config(case, tmp_path):
    results = run(case, tmp_path, "TEST.OVERLAP_ELIMINATION.PRIORITY", "score")
    # the surer mask takes 2 of 12 pixels: IoU 10/12, above 0.50 … 0.80
    assert results["kaggle"]["mAP"] == pytest.approx(100 * (0.7 / 4 + 4 / 10) / 2)


def test_outlines_move_before_all_evaluators(case, tmp_path):
    names = "('coco', 'kaggle', 'submission')"
    results = run(case, tmp_path, "TEST.EVALUATORS", names, "TEST.OUTLINE_OFFSET", "1.0")
    # with the rows above and below, masks of one row have less than half in common with the nuclei
    assert results["kaggle"]["mAP"] == 0
    folder = tmp_path / "inference" / "toy_val"
    for file in ("coco_instances_results.json", "submission.csv"):
        assert as_json(score_files(case[0], folder / file))["kaggle"]["mAP"] == 0


@pytest.mark.parametrize("priority", ["area", "score"])
def test_files_that_it_wrote_give_the_same_score(case, tmp_path, priority):
    overrides = ["TEST.OVERLAP_ELIMINATION.PRIORITY", priority]
    names = "('coco', 'kaggle', 'submission')"
    results = run(case, tmp_path, "TEST.EVALUATORS", names, *overrides)["kaggle"]
    folder = tmp_path / "inference" / "toy_val"
    for file in ("coco_instances_results.json", "submission.csv"):
        content = as_json(score_files(case[0], folder / file))
        assert content["kaggle"].items() <= results.items()
        errors = {f"errors-{name}": number for name, number in content["errors"].items()}
        assert errors.items() <= results.items()
        assert len(results) == len(content["kaggle"]) + len(errors)


def test_output_folder_may_be_chosen(case, tmp_path):
    cfg = load_config(overrides=["TEST.EVALUATORS", "('kaggle',)"])
    evaluator = build_evaluator(cfg, "toy_val", str(tmp_path / "here"))
    evaluator.reset()
    evaluator.process(case[1], case[2])
    evaluator.evaluate()
    assert (tmp_path / "here" / "kaggle_per_image.csv").is_file()


def test_sartorius_data_gets_its_own_submission(tmp_path):
    cfg = load_config(overrides=["TEST.EVALUATORS", "('submission',)"])
    evaluator = build_evaluator(cfg, "sartorius_val", str(tmp_path))
    evaluator.reset()
    evaluator.evaluate()
    assert (tmp_path / "submission.csv").read_text() == "id,predicted\n"


def test_data_sets_that_a_function_describes_are_scored_too(case, tmp_path):
    """As those of Detectron2's tutorial, without a COCO JSON."""
    DatasetCatalog.register("dicts_val", lambda: load_coco_json(str(case[0]), "", "dicts_val"))
    try:
        cfg = load_config(overrides=["TEST.EVALUATORS", "('kaggle', 'coco')"])
        scores = {}
        for name in ("toy_val", "dicts_val"):
            evaluator = build_evaluator(cfg, name, str(tmp_path / name))
            evaluator.reset()
            evaluator.process(case[1], case[2])
            scores[name] = evaluator.evaluate()
    finally:
        DatasetCatalog.remove("dicts_val")
        MetadataCatalog.remove("dicts_val")
    assert scores["dicts_val"]["kaggle"] == scores["toy_val"]["kaggle"]
    assert scores["dicts_val"]["segm"]["AP"] == scores["toy_val"]["segm"]["AP"] > 0


def test_unknown_evaluator(case, tmp_path):
    with pytest.raises(InputError, match=r"found 'kagle', expected names among coco, .*kaggle"):
        run(case, tmp_path, "TEST.EVALUATORS", "('coco', 'kagle')")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("('coco', 'kaggle', 'livecell')", "'coco' and 'livecell', which both give the results"),
        ("('kaggle', 'kaggle')", "found 'kaggle' twice"),
    ],
)
def test_evaluators_with_the_same_results_are_refused_before_any_image(case, names, message):
    cfg = load_config(overrides=["TEST.EVALUATORS", names])
    with pytest.raises(InputError, match=message):
        build_evaluator(cfg, "toy_val")
