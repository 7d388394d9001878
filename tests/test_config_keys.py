"""No key is idle: each is read by the code, and set by a yaml or there for a case that it names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from detectron2.config import CfgNode, get_cfg

from nucdet.config import load_config
from nucdet.config_files import read_config_file

PACKAGE = Path(__file__).parent.parent / "nucdet"
CONFIG_SOURCES = [PACKAGE / "config.py", *sorted(PACKAGE.glob("modeling/*/config.py"))]
CONFIGS = sorted((PACKAGE.parent / "configs").rglob("*.yaml"))

Chain = tuple[str, ...]


def _leaves(node: dict, place: Chain = ()) -> Iterator[Chain]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*place, name))
        else:
            yield (*place, name)


KEYS = sorted(set(_leaves(load_config())) - set(_leaves(get_cfg())))


def _chain(node: ast.expr, names: dict[str, Chain]) -> Chain:
    """("MODEL", "TIMM") of ``cfg.MODEL.TIMM`` and of a name that was given to it; else ()."""
    if isinstance(node, ast.Name):
        return names.get(node.id, ())
    if isinstance(node, ast.Attribute):
        before = _chain(node.value, names)
        return (*before, node.attr) if node.attr.isupper() else before
    return ()


def _pairs(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Targets and values of an assignment, those of tuples one by one."""
    for target in node.targets:
        both = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
        yield from (
            zip(target.elts, node.value.elts, strict=True) if both else [(target, node.value)]
        )


def _names(function: ast.AST) -> dict[str, Chain]:
    """Names that a function gives to nodes of the config: ``aug = cfg.INPUT.AUGMENTATION``."""
    names: dict[str, Chain] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            # of "timm = cfg.MODEL.TIMM = CfgNode()" the other target says what it is
            chains = [_chain(part, names) for pair in _pairs(node) for part in pair]
            for target, value in _pairs(node):
                chain = _chain(value, names) or max(chains, key=len)
                if isinstance(target, ast.Name) and chain:
                    names[target.id] = chain
    return names


def _functions(path: Path) -> list[ast.AST]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def _read_chains() -> set[Chain]:
    return {
        _chain(node, names)
        for path in PACKAGE.rglob("*.py")
        if path.name != "config.py"
        for function in _functions(path)
        for names in [_names(function)]
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    } - {()}


def _comments() -> dict[Chain, str]:
    """The comment above each key, by key."""
    found: dict[Chain, str] = {}
    for path in CONFIG_SOURCES:
        lines = path.read_text(encoding="utf-8").splitlines()
        for function in _functions(path):
            names = _names(function)
            for node in ast.walk(function):
                if not isinstance(node, ast.Assign):
                    continue
                targets = [target for target in node.targets if isinstance(target, ast.Attribute)]
                chain = max((_chain(target, names) for target in targets), key=len, default=())
                if not chain:
                    continue
                keys = [chain]
                made_of = getattr(node.value, "args", None) or [None]
                if isinstance(made_of[0], ast.Dict):  # CfgNode({"PROB": …})
                    keys = [(*chain, name.value) for name in made_of[0].keys]
                for key in keys:
                    found[key] = _comment_above(lines, node.lineno - 1)
    return found


def _comment_above(lines: list[str], index: int) -> str:
    """The nearest comment above a line, which may belong to several lines of code."""
    while not lines[index].strip().startswith("#"):
        index -= 1
    start = index
    while lines[start - 1].strip().startswith("#"):
        start -= 1
    return " ".join(line.strip("# ") for line in lines[start : index + 1])


def test_every_key_is_read():
    read = _read_chains()
    idle = [".".join(key) for key in KEYS if not any(key[-len(c) :] == c for c in read)]
    assert not idle


def test_every_key_is_set_by_a_yaml_or_names_its_case():
    # finetune.yaml inherits the yaml of the model that ships, which names every key and chooses few
    chosen = [path for path in CONFIGS if path.name != "finetune.yaml"]
    set_by_yaml = {key for path in chosen for key in _leaves(read_config_file(path))}
    comments = _comments()
    idle = [
        ".".join(key)
        for key in KEYS
        if key not in set_by_yaml and not re.search(r"\bFor [a-z]|, for [a-z]", comments[key])
    ]
    assert not idle


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(cfg): return cfg.MODEL.TIMM.NAME", ("MODEL", "TIMM", "NAME")),
        ("def f(cfg):\n n = cfg.MODEL.TIMM\n return n.NAME", ("MODEL", "TIMM", "NAME")),
        ("def f(self):\n a, b = self.cfg.A, 1\n return a.B", ("A", "B")),
        ("def f(aug): return aug.GAMMA", ("GAMMA",)),
    ],
)
def test_chains_follow_names(code, expected):
    function = ast.parse(code).body[0]
    assert _chain(function.body[-1].value, _names(function)) == expected


def test_keys_load_without_a_network():
    code = (
        "import sys; from nucdet.config import load_config; cfg = load_config(); "
        "cfg.MODEL.CROP_RCNN, cfg.MODEL.CENTER_VOTING, cfg.MODEL.SEGMENTATION, cfg.MODEL.TIMM; "
        "print([m for m in ('nucdet.modeling', 'detectron2.modeling') if m in sys.modules])"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_no_two_systems_add_the_same_key():
    from nucdet.config import _system_configs

    seen = set(_leaves(get_cfg()))
    for add_config in _system_configs():
        cfg = get_cfg()
        cfg.TEST.OVERLAP_ELIMINATION = CfgNode()
        add_config(cfg)
        added = set(_leaves(cfg)) - set(_leaves(get_cfg()))
        assert added and not added & seen
        seen |= added
