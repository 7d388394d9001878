def test_synthetic(run_tool, tmp_path):
    options = ["--root", tmp_path, "--images", 4, "--size", 64, "--val-fraction", 0.5]
    code, printed, _ = run_tool("convert_dataset.py", "synthetic", *options)
    assert code == 0 and "train: 2 images" in printed
    assert (tmp_path / "annotations/instances_val.json").is_file()


def test_a_mistake_is_one_line_and_code_2(run_tool, tmp_path):
    code, _, error = run_tool("convert_dataset.py", "dsb2018", "--root", tmp_path / "nowhere")
    lines = error.splitlines()
    assert code == 2
    assert len(lines) == 1 and lines[0].startswith("error: ") and "no such folder" in lines[0]


def test_help_names_the_data_sets(run_tool):
    code, printed, _ = run_tool("convert_dataset.py", "--help")
    assert code == 0 and "{coco,dsb2018,labels,livecell,sartorius,synthetic}" in printed
    code, printed, _ = run_tool("convert_dataset.py", "dsb2018", "--help")
    assert code == 0 and "--skip-invalid" in printed
