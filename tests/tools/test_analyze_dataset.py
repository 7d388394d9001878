import json


def test_from_annotations_to_suggestions(run_tool, tmp_path):
    image = {"id": 1, "file_name": "a.png", "height": 256, "width": 256, "kind": "fluorescence"}
    nucleus = {"id": 1, "image_id": 1, "bbox": [0, 0, 32, 32], "area": 800, "iscrowd": 0}
    annotations = tmp_path / "instances_train.json"
    annotations.write_text(json.dumps({"images": [image], "annotations": [nucleus]}))
    output = tmp_path / "out"
    options = ["--annotations", annotations, "--output", output, "--input-size", 512]
    code, printed, _ = run_tool("analyze_dataset.py", *options)
    assert code == 0
    # a box of 32 is one of 64 at the input size: the coarsest sizes that hold 64 exactly
    assert "MODEL.ANCHOR_GENERATOR.SIZES: [[64], [128], [256], [512], [1024]]" in printed
    assert (output / "statistics.png").is_file() and (output / "statistics.json").is_file()


def test_missing_file_is_one_line_and_code_2(run_tool, tmp_path):
    options = ["--annotations", tmp_path / "no.json", "--output", tmp_path]
    code, _, error = run_tool("analyze_dataset.py", *options)
    assert code == 2
    assert error.startswith(f"error: {tmp_path / 'no.json'}: no such file")
