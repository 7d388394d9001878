import json

import pytest

from nucdet.data import json_stream
from nucdet.data.json_stream import stream_entries
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_entries_come_whole_and_in_order_however_the_file_is_read(
    tmp_path, monkeypatch, encoding, chunk
):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT, indent=2), encoding=encoding)
    read = []
    assert list(stream_entries(path, read.append)) == ENTRIES
    assert sum(read) == len(json.dumps(CONTENT, indent=2).encode())


def test_numbers_keep_their_type(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, 1.0, 1e2, true, null, [2, "x", {}]]}')
    entries = [entry for _, entry in stream_entries(path)]
    assert repr(entries) == "[1, 1.0, 100.0, True, None, [2, 'x', {}]]"


def test_a_file_is_read_only_as_far_as_its_entries_are_asked_for(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [1, 2], "annotations": [[0] * 10] * 50_000}))
    read = []
    assert next(stream_entries(path, read.append)) == ("images", 1)
    assert sum(read) < path.stat().st_size / 10


def test_a_file_cut_anywhere_is_an_error(tmp_path):
    path = tmp_path / "a.json"
    text = json.dumps(CONTENT)
    for end in range(len(text)):
        path.write_text(text[:end], encoding="utf-8")
        with pytest.raises(InputError, match=r"a\.json: cut off or not a COCO JSON"):
            list(stream_entries(path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1, 2]", "expected an object"),
        ('{"a": 1.}', "a digit is required"),
        ('{"a": 1} x', "trailing garbage"),
        ('{"a" 1}', "separated by a colon"),
        ("{1: 2}", "1: 2"),
        ('{"a": [NaN]}', "invalid char"),
        ('{"a": [1 2]}', r"after array element.* near '\{\"a\": \[1 2\]\}'"),
        ("\xff", "invalid char"),
        ('{"a": "\xff"}', "invalid bytes in UTF8"),
    ],
)
def test_what_is_no_object_of_lists_is_an_error_of_one_line(tmp_path, text, reason):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=rf"a\.json: .*{reason}") as caught:
        list(stream_entries(path))
    assert "\n" not in str(caught.value)
