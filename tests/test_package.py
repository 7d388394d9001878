"""What a newcomer meets first: `import nucdet` with and without what it needs."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest


def _python(code: str, cwd) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_import_from_any_directory_registers_and_has_a_version(tmp_path):
    code = (
        "import nucdet; from detectron2.modeling import BACKBONE_REGISTRY as registry; "
        "print(nucdet.__version__, 'build_timm_fpn_backbone' in registry)"
    )
    result = _python(code, tmp_path)
    assert result.stdout.split() == ["0.2.0", "True"], result.stderr


def test_detectron2_asks_whether_it_is_traced_without_a_warning(tmp_path):
    code = "import nucdet; from detectron2.utils.tracing import is_fx_tracing; is_fx_tracing()"
    assert _python(code, tmp_path).stderr == ""


@pytest.mark.parametrize(
    ("module", "remedy"),
    [
        ("detectron2", f"`{sys.executable} install_detectron2.py` adds it"),
        # both first, since pip would keep the rest of one that the other was installed over
        (
            "cv2",
            "pip uninstall opencv-python opencv-python-headless; "
            "pip install opencv-python-headless",
        ),
    ],
)
def test_what_is_missing_is_named_with_a_remedy(module, remedy, tmp_path):
    # None in sys.modules makes Python raise ModuleNotFoundError for that name
    result = _python(f"import sys; sys.modules['{module}'] = None; import nucdet", tmp_path)
    assert result.returncode == 1
    assert remedy in result.stderr.splitlines()[-1]
    # one of nucdet's commands says it in one line, and no traceback before it
    code = f"import sys; sys.modules['{module}'] = None; sys.argv[0] = 'bin/nucdet-predict'"
    result = _python(f"{code}; import nucdet", tmp_path)
    assert result.returncode == 2 and result.stderr.startswith("error: ")
    assert remedy in result.stderr and len(result.stderr.splitlines()) == 1


def test_the_remedy_can_be_pasted_where_a_folder_of_the_path_has_a_space(tmp_path):
    code = (
        "import sys; sys.executable = '/my env/bin/python'; sys.modules['detectron2'] = None; "
        "import nucdet"
    )
    message = _python(code, tmp_path).stderr.splitlines()[-1]
    assert "`'/my env/bin/python' install_detectron2.py`" in message


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(("code", "done"), [(0, True), (3, True), (2, False)])
def test_make_demo_keeps_what_lies_in_its_folder_and_names_the_report(
    code, done, repository, tmp_path
):
    # in place of an environment's python: says what it is to do, and ends with the code
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$*"\nexit {code}\n', encoding="utf-8")
    python.chmod(0o755)
    (tmp_path / "requirements.lock").touch()
    (tmp_path / ".venv/.complete").touch()
    corrected = tmp_path / "output/demo/results/a_label.tif"
    corrected.parent.mkdir(parents=True)
    corrected.write_bytes(b"corrected by hand")
    command = ["make", "--file", str(repository / "Makefile"), "demo", "IMAGES=my images"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "tools/predict.py --input my images --output output/demo/results" in result.stdout
    assert (result.returncode == 0) is done
    assert done or f"Error {code}" in result.stderr
    assert ("Look at output/demo/results/report.html" in result.stdout) is done
    assert corrected.read_bytes() == b"corrected by hand"
