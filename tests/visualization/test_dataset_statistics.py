import json

from nucdet.visualization.dataset_statistics import analyze


def test_plot_and_numbers_are_written(tmp_path, capsys):
    images = [{"id": 1, "height": 100, "width": 200, "kind": "bright_field"}]
    nuclei = [
        {"id": i, "image_id": 1, "bbox": [0, 0, 10, 4 * i], "area": 20 * i} for i in (1, 2, 3)
    ]
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"images": images, "annotations": nuclei}))
    analyze(path, tmp_path / "out")
    assert "TEST.DETECTIONS_PER_IMAGE: 100" in capsys.readouterr().out
    written = json.loads((tmp_path / "out/statistics.json").read_text())
    assert written["nuclei"] == 3 and written["kinds"] == {"bright_field": 1}
    assert written["suggestions"]["TEST.DETECTIONS_PER_IMAGE"] == 100
    assert (tmp_path / "out/statistics.png").read_bytes().startswith(b"\x89PNG")


def test_images_without_truth(tmp_path, capsys):
    path = tmp_path / "test.json"
    images = [{"id": 1, "file_name": "a.png", "height": 10, "width": 20}]
    path.write_text(json.dumps({"images": images, "annotations": []}))
    analyze(path, tmp_path / "out")
    assert "ANCHOR" not in capsys.readouterr().out


def test_the_most_frequent_of_many_sizes_are_listed(tmp_path, capsys):
    path = tmp_path / "test.json"
    sides = [*range(20, 50), 20, 20]
    images = [
        {"id": i, "file_name": f"{i}.png", "height": 10, "width": w} for i, w in enumerate(sides)
    ]
    path.write_text(json.dumps({"images": images, "annotations": []}))
    analyze(path, tmp_path / "out")
    rows = [line.split("│")[1:3] for line in capsys.readouterr().out.splitlines() if "│" in line]
    rows = [[cell.strip() for cell in row] for row in rows]
    assert ["10 x 20", "3"] in rows and ["20 more", "20"] in rows and ["10 x 49", "1"] not in rows
