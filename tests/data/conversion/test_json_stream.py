import json

import pytest

from nucdet.data.conversion import json_stream
from nucdet.data.conversion.json_stream import stream_entries
from nucdet.errors import InputError

CONTENT = {
    "info": {"year": "2021", "deep": {"a": [1, {"b": "}]"}]}},
    "version": 1.25,
    "images": [{"id": 1, "file_name": "ä,]}.tif"}, {"id": 2}],
    "annotations": {"7": {"id": 7, "segmentation": [[1.5, -2e3]]}, "8": {"id": 8}},
    "empty": [],
    "nothing": {},
    "last": [12345, 67890],
}
ENTRIES = [
    ("info", "2021"),
    ("info", {"a": [1, {"b": "}]"}]}),
    ("version", 1.25),
    ("images", {"id": 1, "file_name": "ä,]}.tif"}),
    ("images", {"id": 2}),
    ("annotations", {"id": 7, "segmentation": [[1.5, -2e3]]}),
    ("annotations", {"id": 8}),
    ("last", 12345),
    ("last", 67890),
]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_entries_come_whole_and_in_order_however_the_file_is_read(
    tmp_path, monkeypatch, indent, chunk
):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT, indent=indent), encoding="utf-8")
    read = []
    assert list(stream_entries(path, read.append)) == ENTRIES
    assert sum(read) == len(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_a_file_cut_anywhere_is_an_error(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    path = tmp_path / "a.json"
    text = json.dumps(CONTENT)
    for end in range(len(text)):
        path.write_text(text[:end], encoding="utf-8")
        with pytest.raises(InputError, match=r"a\.json: (cut off|not a whole COCO JSON)"):
            list(stream_entries(path))


@pytest.mark.parametrize(
    "text", ["[1, 2]", '{"a": 1.}', '{"a": 1} x', '{"a" 1}', "{1: 2}", '{"a": [1 2]}', "\xff"]
)
def test_what_is_no_object_of_lists_is_an_error(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.json: "):
        list(stream_entries(path))


def test_a_broken_entry_is_not_searched_for_its_end_in_all_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK", 10)
    monkeypatch.setattr(json_stream, "_MAX_ENTRY", 1000)
    path = tmp_path / "a.json"
    path.write_text('{"a": ["unclosed' + " " * 100_000)
    read = []
    with pytest.raises(InputError, match="cut off or not JSON"):
        list(stream_entries(path, read.append))
    assert sum(read) < 5000
