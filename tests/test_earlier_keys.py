"""Configs of earlier versions, which name keys that are gone."""

from __future__ import annotations

import logging

import pytest
import yaml
from detectron2.config import CfgNode

from nucdet.config import load_config
from nucdet.config_files import read_config_file
from nucdet.earlier_keys import REMOVED_KEYS, with_current_keys
from nucdet.errors import InputError
from nucdet.modeling.model_zoo import DEFAULT_MODEL, find_model


def _add(node, key: str, value) -> None:
    *place, name = key.split(".")
    for part in place:
        if part not in node:
            node[part] = CfgNode()
        node = node[part]
    assert name not in node, f"{key} is a key again"
    node[name] = value


def _dumped(tmp_path, **changes) -> str:
    """A config as a training of an earlier version dumped it, with every key."""
    cfg = load_config()
    for key, default in REMOVED_KEYS.items():
        _add(cfg, key, changes.get(key, default))
    path = tmp_path / "config.yaml"
    path.write_text(cfg.dump(), encoding="utf-8")
    return str(path)


def test_a_dumped_config_loads_with_one_line_in_the_log(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="nucdet"):
        cfg = load_config(_dumped(tmp_path))
    assert yaml.safe_load(cfg.dump()) == yaml.safe_load(load_config().dump())
    (record,) = caplog.records
    message = record.getMessage()
    assert "config.yaml: ignored keys that nucdet no longer has: " in message
    assert all(key in message for key in REMOVED_KEYS)


def test_another_value_than_the_default_is_one_line(tmp_path):
    path = _dumped(tmp_path, **{"INPUT.AUGMENTATION.NOISE.SIGMA": 20.0})
    with pytest.raises(InputError, match=r"NOISE\.SIGMA is 20\.0, .* always takes 12\.0; delete"):
        load_config(path)


def test_what_ships_names_no_removed_key(caplog):
    path = find_model(DEFAULT_MODEL).config
    loaded = read_config_file(path)
    with caplog.at_level(logging.INFO, logger="nucdet"):
        assert with_current_keys(loaded, path) == loaded
    assert not caplog.records


def test_empty_nodes_stay_and_emptied_ones_go():
    loaded = {"A": {}, "INPUT": {"SEMANTIC_TARGETS": {"BORDER": "touching"}}}
    assert with_current_keys(loaded, "a.yaml") == {"A": {}}


def test_a_renamed_key_keeps_its_value(tmp_path, caplog):
    path = tmp_path / "config.yaml"
    path.write_text("INPUT:\n  AUGMENTATION:\n    COLOURISE_PROB: 0.3\n", encoding="utf-8")
    with caplog.at_level(logging.INFO, logger="nucdet"):
        assert load_config(path).INPUT.AUGMENTATION.COLORIZE_PROB == 0.3
    (record,) = caplog.records
    assert "INPUT.AUGMENTATION.COLOURISE_PROB (now COLORIZE_PROB)" in record.getMessage()
