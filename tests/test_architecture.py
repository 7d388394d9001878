"""The floors of the house: a file imports only from floors below its own, or from its own room."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "nucdet"

# the longest matching start of a module's name counts
FLOORS = {
    "nucdet.version": 0,
    "nucdet.earlier_keys": 0,
    "nucdet.errors": 0,
    "nucdet.files": 0,
    "nucdet.image_names": 0,
    "nucdet.lifetime": 0,
    "nucdet.locks": 0,
    "nucdet.processes": 0,
    "nucdet.compiler_on_demand": 0,
    "nucdet.config": 0,
    "nucdet.config_checks": 0,
    "nucdet.config_files": 0,
    "nucdet.progress": 0,
    "nucdet.arguments": 0,
    "nucdet.structures": 0,
    "nucdet.layers": 0,
    "nucdet.postprocessing": 1,
    "nucdet.evaluation.matching": 1,
    "nucdet.data": 2,
    "nucdet.modeling": 3,
    "nucdet.evaluation": 3,
    "nucdet.visualization": 4,
    "nucdet.export": 4,
    # each uses the one before: evaluation in training predicts, and a search trains
    "nucdet.predict": 5,
    "nucdet.train": 6,
    "nucdet.tuning": 7,
    "nucdet.commands": 8,
    "nucdet.napari": 8,
}


def floor_of(module: str) -> tuple[int, str]:
    if module.startswith("nucdet.modeling.") and module.endswith(".config"):
        return 0, module  # nucdet.config loads the keys of each system without its networks
    room = max((r for r in FLOORS if module == r or module.startswith(r + ".")), key=len)
    return FLOORS[room], room


def modules() -> list[str]:
    files = PACKAGE.rglob("*.py")
    names = [".".join(f.relative_to(PACKAGE.parent).with_suffix("").parts) for f in files]
    return sorted(n.removesuffix(".__init__") for n in names if n != "nucdet.__init__")


def imports_of(module: str) -> set[str]:
    path = PACKAGE.parent.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            found.add(node.module)
            # "from nucdet.structures import masks" may name a module
            found |= {f"{node.module}.{a.name}" for a in node.names if node.module == "nucdet"}
    return {name for name in found if name.startswith("nucdet.")}


@pytest.mark.parametrize("module", modules())
def test_imports_only_from_floors_below(module):
    floor, room = floor_of(module)
    for imported in imports_of(module):
        other_floor, other_room = floor_of(imported)
        assert other_room == room or other_floor < floor or floor == other_floor == 0, (
            f"{module} (floor {floor}) imports {imported} (floor {other_floor})"
        )


def test_what_loads_data_sets_does_not_know_the_converters():
    for module in modules():
        if module.startswith("nucdet.data.") and not module.startswith("nucdet.data.conversion"):
            assert not [name for name in imports_of(module) if "data.conversion" in name], module


def test_no_module_imports_the_top_level_tools_package():
    # Detectron2's wheel installs a package of that name
    files = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "tools").glob("*.py")]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] != "tools", path
