"""Each command line: quick help without PyTorch, mistakes in one line, the same as its script."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module

import pytest

# script in tools/: module in nucdet/commands
TOOLS = {
    "analyze_dataset": "analyze",
    "convert_dataset": "convert",
    "cross_validate": "cross_validate",
    "evaluate_predictions": "evaluate",
    "export_weights": "export_weights",
    "plot_training": "plot_training",
    "predict": "predict",
    "search": "search",
    "train_net": "train",
    "tune_thresholds": "tune",
    "visualize_data": "visualize_data",
    "visualize_results": "visualize_results",
    "visualize_stages": "visualize_stages",
}

_RUN = """
import sys, time
from importlib import import_module
main = import_module("nucdet.commands." + sys.argv[1]).main
del sys.argv[1]
try:
    main()
finally:
    print("torch" in sys.modules, time.process_time(), file=sys.stderr)
"""


def run(command: str, *arguments: str, cwd=None) -> tuple[int, str, str, bool, float]:
    """In a process of its own: exit code, stdout, stderr, whether torch was imported, CPU seconds.

    Only ``PYTHONPATH`` tells it where nucdet is, as the checkout may not be the one installed.
    """
    result = subprocess.run(
        [sys.executable, "-c", _RUN, command, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    *error, last = result.stderr.splitlines()
    torch, seconds = last.split()
    return result.returncode, result.stdout, "\n".join(error), torch == "True", float(seconds)


@pytest.mark.parametrize("command", sorted(TOOLS.values()))
def test_help_needs_no_torch(command):
    code, out, error, torch, seconds = run(command, "--help")
    assert (code, error, torch) == (0, "", False)
    assert "usage: " in out and "--help" in out and "%(" not in out
    assert seconds < 1


def test_a_command_runs_as_a_module():
    module = [sys.executable, "-m", "nucdet.commands.plot_training"]
    result = subprocess.run([*module, "--help"], capture_output=True, text=True, check=True)
    assert "usage: " in result.stdout


@pytest.mark.parametrize(
    ("data_set", "option"),
    [
        ("coco", "--json JSON"),
        ("dsb2018", "--folds K"),
        ("labels", "--labels LABELS"),
        ("labels", "--folds K"),
        ("livecell", "--allow-missing"),
        ("sartorius", "--group-samples"),
        ("synthetic", "--size SIZE"),
    ],
)
def test_help_of_a_converter_needs_no_torch(data_set, option):
    code, out, error, torch, _ = run("convert", data_set, "--help")
    assert (code, error, torch) == (0, "", False)
    assert option in out and "(default: None)" not in out


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("predict", ["--input", "x"], "the following arguments are required: --output"),
        ("predict", ["--input", "x", "--output", "y", "--time", "one"], "expected all or a number"),
        (
            "predict",
            ["--input", "x", "--output", "y", "--diameter", "big"],
            "found 'big'; expected",
        ),
        ("predict", ["--input", "x", "--output", "y", "--save", "mask"], "no format 'mask'"),
        ("predict", ["--config-file", "DSB2018/unet.yaml"], "nucdet has DSB2018/unet_cs230.yaml"),
        ("train", ["--config"], "expected one argument"),
        ("search", ["--seeds", "1,b"], "--seeds: found '1,b'; expected whole numbers"),
        ("export_weights", ["--score", "mAP"], "--score: found 'mAP'; expected NAME=VALUE"),
        ("convert", ["bsd2018"], "invalid choice"),
        ("convert", ["coco", "--json", "x"], "the following arguments are required: --images"),
        ("evaluate", ["--ground-truth", "no.json", "--predictions", "."], "no.json: no such file"),
        ("tune", f"--ground-truth {__file__} --predictions no.json --output-dir x".split(), "no.j"),
    ],
)
def test_usage_errors_need_no_torch(command, arguments, message):
    code, out, error, torch, _ = run(command, *arguments)
    assert (code, out, torch) == (2, "", False)
    assert message in error and "Traceback" not in error


def test_every_command_has_a_script_and_a_name(repository):
    scripts = {path.stem for path in (repository / "tools").glob("*.py")}
    modules = {path.stem for path in (repository / "nucdet/commands").glob("[a-z]*.py")}
    assert set(TOOLS) == scripts and set(TOOLS.values()) == modules
    for tool, module in TOOLS.items():
        assert f"from nucdet.commands.{module} import main" in (
            repository / "tools" / f"{tool}.py"
        ).read_text(encoding="utf-8")
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["scripts"] == {
        f"nucdet-{module.replace('_', '-')}": f"nucdet.commands.{module}:main" for module in modules
    }
    assert all(callable(import_module(f"nucdet.commands.{module}").main) for module in modules)


def test_imports_are_no_leak_where_triton_is_loaded():
    pytest.importorskip("triton._C.libtriton")
    code = (
        "import triton._C.libtriton; from nucdet.arguments import quick_imports\n"
        "with quick_imports(): pass"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stderr == ""
