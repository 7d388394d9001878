from __future__ import annotations

import errno
import json

import pytest

from nucdet.files import remove_left_over, write_atomically, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with write_atomically(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), write_atomically(path) as temporary:
        temporary.write_text("half of the ne")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_where_there_is_no_room_the_file_is_named(tmp_path, number):
    with pytest.raises(OSError) as refused, write_atomically(tmp_path / "a.txt"):
        raise OSError(number, "no room")
    assert refused.value.filename == str(tmp_path / "a.txt")
    with pytest.raises(OSError) as refused, write_atomically(tmp_path / "a.txt"):
        raise OSError(errno.EIO, "an image that is read may have failed")
    assert refused.value.filename is None


def test_json_is_ascii_and_keys_keep_their_order(tmp_path):
    write_json(tmp_path / "a.json", {"x": "é", "images": [1, 2]})
    text = (tmp_path / "a.json").read_bytes().decode("ascii")
    assert list(json.loads(text).items()) == [("x", "é"), ("images", [1, 2])]


def test_the_file_is_readable_by_others_as_the_umask_says(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, [])
    plain = tmp_path / "b.json"
    plain.write_text("")
    assert path.stat().st_mode == plain.stat().st_mode


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    names = [".a-k3_x9abz.json", ".a.b-aaaaaaaa", ".other-aaaaaaaa.json", ".a-short.json", "a.json"]
    for name in names:
        (tmp_path / name).write_text("half")
    remove_left_over([tmp_path / "a.json", tmp_path / "a.b", tmp_path / "none" / "c.json"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[2:])


def test_a_name_as_long_as_it_may_be_is_written_and_cleaned_up(tmp_path):
    path = tmp_path / f"{'ä' * 125}.json"
    assert len(path.name.encode()) == 255
    write_json(path, [])
    assert path.read_text() == "[]\n"
    with write_atomically(path) as temporary:
        left = temporary
    left.touch()
    remove_left_over([path])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
