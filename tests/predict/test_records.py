import os

import pytest

from nucdet.export import ImageRecord
from nucdet.predict.inputs import InputFile
from nucdet.predict.records import RecordStore


@pytest.fixture
def record():
    classes, shown = ([0], ["nucleus"]), ("data:,", (1, 1), ["M0 0z"], "0")
    return ImageRecord("a", "a.png", 1, 2, ["11"], [1], [0.5], *classes, *shown)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "in/a.png"
    path.parent.mkdir()
    path.touch()
    return InputFile(path, "a.png", "a")


def test_a_record_is_kept_as_it_was(tmp_path, file, record):
    RecordStore(tmp_path, "s").save(file, record)
    store = RecordStore(tmp_path, "s")
    (kept,) = store.of_file(file)
    assert kept is not None
    assert kept.counts == record.counts
    assert kept.size == record.size
    assert store.outcome(file).error is None


def test_records_are_read_anew_each_time_without_those_that_failed(tmp_path, file, record):
    store = RecordStore(tmp_path, "s")
    other = InputFile(file.path, "b.png", "b")
    store.save(file, record)
    store.save_failure(other, "damaged")
    records = store.records([other, file])
    assert [r.file_name for r in records] == ["a.png"]
    assert [r.file_name for r in records] == ["a.png"]


def test_done_needs_record_and_all_files(tmp_path, file, record):
    store = RecordStore(tmp_path, "s")
    label = tmp_path / "a_label.tif"
    label.touch()
    assert not store.is_done(file, [label])
    store.save(file, record, [label])
    assert store.is_done(file, [label])
    label.write_text("longer than it was")
    assert not store.is_done(file, [label])
    label.write_text("")
    assert not store.is_done(file, [label, tmp_path / "a.csv"])


def test_other_settings_or_another_image_are_not_done(tmp_path, file, record):
    store = RecordStore(tmp_path, "s")
    store.save(file, record)
    assert not list(RecordStore(tmp_path, "other").of_file(file))
    os.utime(file.path, (1, 1))
    assert not list(store.of_file(file))


def test_a_failure_is_kept_and_not_done(tmp_path, file):
    store = RecordStore(tmp_path, "s")
    store.save_failure(file, "damaged")
    assert store.outcome(file).error == "damaged"
    assert not store.is_done(file, [])
    store.begin(file, [])
    assert store.outcome(file).error is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"settings": "s"}'])
def test_a_damaged_record_is_none(tmp_path, file, text):
    store = RecordStore(tmp_path, "s")
    store.save_failure(file, "damaged")
    (tmp_path / ".records" / "a.json").write_text(text)
    assert not list(store.of_file(file))
    assert store.outcome(file).error is None
