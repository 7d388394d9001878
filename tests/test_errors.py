from __future__ import annotations

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


def test_a_mistake_found_in_a_loader_process_is_still_one_line(capsys):
    # as torch.utils.data hands over what a worker raised
    text = "Caught InputError in worker.\nOriginal Traceback (most recent call last):\n  File x\n"
    error = InputError(f"{text}nucdet.errors.InputError: a.png: broken; replace it\n")
    assert _exit_code(_raiser(error)) == 2
    assert capsys.readouterr().err == "error: a.png: broken; replace it\n"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ValueError, match="a bug"):
        run_tool(_raiser(ValueError("a bug")))


def test_success_and_a_tools_own_code():
    assert _exit_code(lambda: None) == 0
    assert _exit_code(lambda: 3) == 3
