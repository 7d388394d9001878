from __future__ import annotations

import re
import sys

import pytest

from nucdet.errors import InputError
from nucdet.image_names import NamedFiles, check_distinct, names_of

# "Zürich", as macOS and as other systems write it
NFD, NFC = "Zu\u0308rich", "Z\u00fcrich"

needs_both = pytest.mark.skipif(
    sys.platform == "darwin", reason="a file system of macOS does not keep both names apart"
)


def test_names_in_both_forms_are_the_same():
    assert NFD != NFC
    assert names_of(f"plate/{NFD}.ome.tif") == names_of(f"{NFC}.ome.tif")


@pytest.mark.parametrize("on_disk", [NFD, NFC])
@pytest.mark.parametrize("asked", [NFD, NFC])
def test_a_file_or_folder_is_found_by_either_form_of_its_name(tmp_path, on_disk, asked):
    path = tmp_path / on_disk / f"{on_disk}.png"
    path.parent.mkdir()
    path.touch()
    files = NamedFiles(tmp_path)
    assert files.find(f"{asked}/{asked}.png").samefile(path)
    assert files.find(f"{asked}/../{asked}/{asked}.png").samefile(path)
    assert NamedFiles(tmp_path / "x").find(str(path)) == path
    assert files.find(asked).samefile(path.parent)  # an OME-Zarr is a folder
    assert files.find(f"{asked}/b.png") is None and files.find(f"{asked}/{asked}.png/c.png") is None


@needs_both
def test_two_files_whose_names_look_the_same_are_named(tmp_path):
    for name in (NFD, NFC, "other"):
        (tmp_path / f"{name}.png").touch()
    message = (
        f"{tmp_path}: found {NFD}.png twice, with its letters in two forms of Unicode "
        r"('Zu\u0308rich.png' and 'Z\xfcrich.png'); keep one of the two, or rename one"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        NamedFiles(tmp_path).find(f"{NFC}.png")
    assert NamedFiles(tmp_path).find("other.png")
    with pytest.raises(InputError, match=re.escape(message)):
        check_distinct(sorted(tmp_path.iterdir()))
    check_distinct([tmp_path / f"{NFC}.png", tmp_path / NFD / f"{NFD}.png"])
