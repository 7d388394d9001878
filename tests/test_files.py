from __future__ import annotations

import pytest

from nucdet.files import write_atomically, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with write_atomically(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), write_atomically(path) as temporary:
        temporary.write_text("half of the ne")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_equal_content_gives_equal_bytes(tmp_path):
    for name in ("a.json", "b.json"):
        write_json(tmp_path / name, {"images": [1, 2], "x": "é"})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_the_file_is_readable_by_others_as_the_umask_says(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, [])
    plain = tmp_path / "b.json"
    plain.write_text("")
    assert path.stat().st_mode == plain.stat().st_mode
