from __future__ import annotations

import argparse
import io
import logging
import os

import pytest

from nucdet.config import load_config
from nucdet.train import console


def test_the_screen_gets_warnings_only_and_the_file_everything(tmp_path, monkeypatch):
    screen = io.StringIO()
    logger = logging.getLogger("nucdet.tests.console")
    logger.setLevel(logging.INFO)
    monkeypatch.setattr(console, "_LOGGERS", [logger.name])
    logger.addHandler(logging.StreamHandler(screen))
    logger.addHandler(logging.FileHandler(tmp_path / "log.txt"))
    with console.messages_to_file():
        logger.info("the whole config")
        logger.warning("a warning")
    logger.info("iteration 1")
    assert screen.getvalue().splitlines() == ["a warning", "iteration 1"]
    everything = (tmp_path / "log.txt").read_text().splitlines()
    assert everything == ["the whole config", "a warning", "iteration 1"]


def test_the_traceback_of_an_ended_training_is_in_the_file_alone(registered, tmp_path, capsys):
    cfg = load_config("quick_schedules/unet_lite0_synthetic.yaml", ["OUTPUT_DIR", str(tmp_path)])
    console.setup_run(cfg, argparse.Namespace(config_file="", eval_only=True, opts=[]))
    try:
        raise OSError("the disk is full")
    except OSError:
        logging.getLogger("detectron2.engine.train_loop").exception("Exception during training:")
    assert "full" not in "".join(capsys.readouterr())
    for handler in logging.getLogger("detectron2").handlers:
        # those of earlier tests have closed files
        if getattr(handler.stream, "name", "") == str(tmp_path / "log.txt"):
            handler.flush()
    assert "OSError: the disk is full" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("compiler", [None, "no-such-compiler"])
def test_a_missing_compiler_is_no_line_on_the_screen(
    compiler, registered, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr("shutil.which", lambda name: None)
    if compiler is None:
        monkeypatch.delenv("CXX", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))  # /bin/sh is found without it
    else:
        monkeypatch.setenv("CXX", compiler)
    options = ["OUTPUT_DIR", str(tmp_path / "output")]
    cfg = load_config("quick_schedules/unet_lite0_synthetic.yaml", options)
    console.setup_run(cfg, argparse.Namespace(config_file="", eval_only=True, opts=[]))
    assert "not found" not in "".join(capfd.readouterr())
    assert os.environ.get("CXX") == compiler
