import pytest
from torch.multiprocessing import ProcessRaisedException

from nucdet.errors import InputError, run_tool
from nucdet.processes import _own_error

TRACEBACK = (
    "\n\n-- Process 1 terminated with the following error:\nTraceback (most recent call last):\n"
)


def raised(last_line):
    return ProcessRaisedException(f'{TRACEBACK}  File "a.py", line 1\n{last_line}\n', 1, 42)


@pytest.mark.parametrize(
    ("last_line", "kind", "message"),
    [
        ("nucdet.errors.InputError: w.pth: damaged: cut short", InputError, "w.pth: damaged: cut"),
        ("OSError: [Errno 28] No space left on device: 'a.tif'", OSError, "No space left on dev"),
        ("PermissionError: [Errno 13] Permission denied: 'a'", PermissionError, "denied: 'a'"),
        ("ValueError: a bug", ProcessRaisedException, "a bug"),
        ("KeyError: 'OSError: a bug'", ProcessRaisedException, "a bug"),
    ],
)
def test_mistakes_met_by_another_process_keep_their_words(last_line, kind, message):
    error = _own_error(raised(last_line))
    assert type(error) is kind
    assert message in str(error)


def test_a_full_disk_met_by_another_process_has_the_same_line(capsys):
    def main():
        raise _own_error(raised("OSError: [Errno 28] No space left on device: 'a.tif'"))

    with pytest.raises(SystemExit, match="2"):
        run_tool(main)
    line = "error: a.tif: No space left on device; free some, or write to another disk\n"
    assert capsys.readouterr().err == line
