from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from nucdet.errors import InputError, run_tool


def _exit_code(main) -> int:
    with pytest.raises(SystemExit) as exit_info:
        run_tool(main)
    return exit_info.value.code


def _raiser(error):
    def main():
        raise error

    return main


def test_a_users_mistake_is_one_line_and_code_2(capsys):
    assert _exit_code(_raiser(InputError("a.png: found 1,\n  expected 2"))) == 2
    assert capsys.readouterr().err == "error: a.png: found 1, expected 2\n"


def test_what_the_file_system_refuses_names_the_file(capsys):
    def main():
        open("/nowhere/at/all")  # noqa: SIM115, PTH123

    assert _exit_code(main) == 2
    assert capsys.readouterr().err == "error: /nowhere/at/all: No such file or directory\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_or_quota_that_is_used_up_has_a_remedy(capsys, number):
    assert _exit_code(_raiser(OSError(number, "used up", "a.tif"))) == 2
    line = "error: a.tif: used up; free some, or write to another disk\n"
    assert capsys.readouterr().err == line


def test_a_mistake_found_in_a_loader_process_is_still_one_line(capsys):
    # as torch.utils.data hands over what a worker raised
    text = "Caught InputError in worker.\nOriginal Traceback (most recent call last):\n  File x\n"
    error = InputError(f"{text}nucdet.errors.InputError: a.png: broken; replace it\n")
    assert _exit_code(_raiser(error)) == 2
    assert capsys.readouterr().err == "error: a.png: broken; replace it\n"
    missing = "FileNotFoundError: [Errno 2] No such file or directory: 'a.png'\n"
    assert _exit_code(_raiser(FileNotFoundError(text + missing))) == 2
    assert capsys.readouterr().err == "error: No such file or directory: 'a.png'\n"


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("(pid 12) is killed by signal: Killed. ", 2),
        ("(pid 12) is killed by signal: Bus error. It is possible that …", 2),
        ("(pid(s) 12, 13) exited unexpectedly", 2),
        ("(pid 12) is killed by signal: Segmentation fault. ", 1),
    ],
)
def test_too_little_memory_of_a_loader_process_is_no_bug(capsys, ending, code):
    assert _exit_code(_raiser(RuntimeError(f"DataLoader worker {ending}"))) == code
    assert ("or set DATALOADER.NUM_WORKERS 0\n" in capsys.readouterr().err) == (code == 2)


def test_a_bug_is_one_line_that_names_a_log_with_the_traceback(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert _exit_code(_raiser(ValueError("a bug\nof two lines"))) == 1
    line = capsys.readouterr().err
    (log,) = tmp_path.glob("nucdet-*.log")
    assert line == (
        f"error: unexpected ValueError: a bug; the traceback is in {log}; "
        "please send it with a report\n"
    )
    assert "in main\n    raise error\nValueError: a bug\nof two lines" in log.read_text()


def test_a_bug_in_another_process_shows_that_processs_words(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    error = RuntimeError("-- Process 1 --\nTraceback (most recent call last):\nKeyError: 'x'\n")
    assert _exit_code(_raiser(error)) == 1
    assert "unexpected RuntimeError: KeyError: 'x'; the traceback" in capsys.readouterr().err


def test_where_no_log_can_be_written_the_traceback_is_on_the_screen(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    assert _exit_code(_raiser(ValueError("a bug"))) == 1
    captured = capsys.readouterr().err
    assert "raise error" in captured
    assert captured.endswith("a bug; no log could be written (No such file or directory)\n")


def test_a_reader_that_has_seen_enough_is_no_mistake():
    program = (
        "from nucdet.errors import run_tool\n"
        "run_tool(lambda: [print('a row of a long table') for _ in range(100_000)] and None)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tool:
        tool.stdout.readline()
        tool.stdout.close()
        assert tool.stderr.read() == b""
    assert tool.returncode == 141


def test_success_and_a_tools_own_code():
    assert _exit_code(lambda: None) == 0
    assert _exit_code(lambda: 3) == 3
