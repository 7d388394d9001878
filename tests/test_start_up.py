"""What a prediction must not wait for: modules that take seconds to import and are not needed."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys

import pytest

HEAVY = (
    "IPython",
    "detectron2.utils.visualizer",
    "matplotlib",
    "optuna",
    "pandas",
    "sympy",  # of torch's compiler
    "tensorboard",
    "torch._dynamo",
    "torch._inductor",
    "triton",
)


def _loaded(code: str) -> list[str]:
    """The modules that a new Python has loaded after the code."""
    code += "; import json, sys; print(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def after_a_segmenter() -> set[str]:
    # beside the default model, the convolution of Detectron2 that an R-CNN consists of
    return set(
        _loaded(
            "import nucdet, torch; nucdet.Segmenter(); from detectron2.layers import Conv2d; "
            "Conv2d(1, 1, 1)(torch.zeros(1, 1, 2, 2))"
        )
    )


@pytest.mark.parametrize("module", HEAVY)
def test_a_segmenter_is_built_without(module, after_a_segmenter):
    assert "timm.models" in after_a_segmenter
    assert module not in after_a_segmenter


@pytest.mark.parametrize("command", ["train --eval-only", "predict --input . --output out"])
def test_missing_weights_are_found_before_a_network_is_built(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, *arguments = [*command.split(), "--config-file", "DSB2018/crop_rcnn.yaml"]
    code = (
        f"import sys; sys.argv = ['nucdet', *{arguments}, 'MODEL.WEIGHTS', 'none.pth']\n"
        f"from nucdet.commands.{name} import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 2\n"
        "0"
    )
    loaded = _loaded(code)
    assert "nucdet.modeling.weight_checks" in loaded
    assert not {"timm", "nucdet.train.trainer"} & set(loaded)


def test_the_compiler_is_there_for_those_who_want_it():
    code = (
        "import nucdet, sys; from torchvision.ops import roi_align; import timm.models.naflexvit; "
        "assert 'torch._dynamo' not in sys.modules; roi = sys.modules[roi_align.__module__]; "
        "answer = roi.is_compile_supported('cpu'); from torch._dynamo import utils; "
        "assert utils.__file__ and answer == utils.is_compile_supported('cpu')"
    )
    assert "torch._dynamo" in _loaded(code)


def _first_of_detectron2_and_nucdet(code: str) -> str | None:
    """Which of the two a script imports first; None: neither."""
    for statement in ast.parse(code).body:
        names = [alias.name for alias in getattr(statement, "names", ())]
        for name in [statement.module or ""] if isinstance(statement, ast.ImportFrom) else names:
            if (package := name.split(".")[0]) in ("detectron2", "nucdet"):
                return package
    return None


def test_scripts_import_nucdet_first_so_that_detectron2_prints_no_warnings(repository):
    scripts = {path: path.read_text("utf-8") for path in repository.glob("benchmarks/*.py")}
    for path in repository.glob("docs/*.md"):
        blocks = re.findall(r"^```python\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S)
        # an extension is imported by nucdet
        scripts |= {path / block[:40]: block for block in blocks if ".register()" not in block}
    first = {path: _first_of_detectron2_and_nucdet(code) for path, code in scripts.items()}
    assert list(first.values()).count("nucdet") >= 20
    assert not [path for path, package in first.items() if package == "detectron2"]
