from __future__ import annotations

import io
import logging

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
