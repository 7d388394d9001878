import json
import os
import subprocess
import sys

import pytest

from nucdet.arguments import config_file
from nucdet.config import load_config
from nucdet.config_files import config_names, find_config, read_config_file
from nucdet.errors import InputError


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(files))}.yaml"


def test_values_of_a_file_go_before_those_of_its_bases(tmp_path):
    path = write(
        tmp_path,
        top="_BASE_: [left.yaml, right.yaml]\nA: {X: 1}\n",
        left="_BASE_: base.yaml\nA: {Y: 2}\nL: left\n",
        right="A: {Y: 3}\n",
        base="A: {X: 0, Y: 0, Z: 0}\nL: base\n",
    )
    assert read_config_file(path) == {"A": {"X": 1, "Y": 3, "Z": 0}, "L": "left"}


def test_tuples_of_a_dumped_config_are_read(tmp_path):
    dumped = write(tmp_path, dumped=load_config().dump())
    # as JSON, which has one kind of list
    assert json.dumps(load_config(dumped)) == json.dumps(load_config())
    path = write(tmp_path, tuples="A: !!python/tuple [1, !!python/tuple [2]]\n")
    assert read_config_file(path) == {"A": (1, (2,))}


@pytest.mark.parametrize("place", ["top", "base"])
@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir", "!!python/name:os"]
)
def test_no_tag_runs_code(tmp_path, place, tag):
    proof = tmp_path / "proof"
    harmful = f"OUTPUT_DIR: {tag} ['{proof}']\n"
    files = {"top": harmful} if place == "top" else {"top": "_BASE_: base.yaml", "base": harmful}
    with pytest.raises(InputError, match=rf"{place}\.yaml: .*(python|constructor)") as caught:
        load_config(write(tmp_path, **files))
    assert not proof.exists() and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "_BASE_: b.yaml", "b": "_BASE_: a.yaml"}, r"b\.yaml: its _BASE_ leads back to"),
        ({"a": "_BASE_: a.yaml"}, r"leads back to"),
        ({"a": "_BASE_: https://example.org/a.yaml"}, r"expected a file on this machine"),
        ({"a": "_BASE_: 3"}, r"_BASE_ is 3; expected a file"),
        ({"a": ""}, r"a\.yaml: holds nothing; expected config keys"),
        ({"a": "just text"}, r"holds str; expected config keys"),
        ({"a": "DATASETS: {TRAIN: }"}, r"DATASETS\.TRAIN has no value .* expected tuple, as \(\)"),
        ({"a": "INPUT: {CROP: {SIZE: null}}"}, r"INPUT\.CROP\.SIZE has no value"),
        ({"a": "[1, 2]"}, r"holds list"),
        ({"a": "MODEL: [1,"}, r"not readable as yaml"),
        ({"a": "_BASE_: b.yaml\nMODEL: 3", "b": "MODEL: {MASK_ON: True}"}, r"MODEL is 3"),
        ({"a": "VERSION: 1"}, r"VERSION is 1, expected 2"),
        ({"a": "[" * 5000}, r"nested too deeply"),
    ],
)
def test_mistakes_are_one_line(tmp_path, files, message):
    with pytest.raises(InputError, match=message):
        load_config(write(tmp_path, **files))


def test_missing_base_names_who_asks_for_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"b\.yaml: no such .*a\.yaml names as _BASE_; exp"):
        load_config(write(tmp_path, a="_BASE_: b.yaml"))
    assert load_config(write(tmp_path, a="_BASE_: finetune.yaml")).SOLVER.MAX_ITER == 300


def test_integers_are_taken_for_floats(tmp_path):
    path = write(tmp_path, a="TEST: {OUTLINE_OFFSET: -2}\nSOLVER: {BASE_LR: 1, MAX_ITER: 5}\n")
    cfg = load_config(path, ["TEST.NUCLEUS_DIAMETER", "30", "SOLVER.MOMENTUM", "0.5"])
    values = cfg.TEST.OUTLINE_OFFSET, cfg.SOLVER.BASE_LR, cfg.TEST.NUCLEUS_DIAMETER
    assert values == (-2, 1, 30) and all(isinstance(value, float) for value in values)
    assert cfg.SOLVER.MAX_ITER == 5 and isinstance(cfg.SOLVER.MAX_ITER, int)
    assert load_config(overrides=["TEST.OUTLINE_OFFSET", "1"]).TEST.OUTLINE_OFFSET == 1
    with pytest.raises(InputError, match=r"OUTLINE_OFFSET"):
        load_config(overrides=["TEST.OUTLINE_OFFSET", "wide"])
    with pytest.raises(InputError, match=r"MAX_ITER"):
        load_config(overrides=["SOLVER.MAX_ITER", "1.5"])


def test_a_key_without_a_value_on_the_command_line():
    with pytest.raises(InputError, match=r"the command line: MODEL\.TIMM\.NAME has no value"):
        load_config(overrides=["MODEL.TIMM.NAME", "None"])
    assert load_config(overrides=["TEST.SCORE_THRESHOLD", "None"]).TEST.SCORE_THRESHOLD is None


def test_a_config_is_found_by_path_then_by_name(tmp_path, monkeypatch, repository):
    monkeypatch.chdir(tmp_path)
    own = repository / "configs/DSB2018/unet_small.yaml"
    for name in ("DSB2018/unet_small.yaml", "configs/DSB2018/unet_small.yaml", own):
        assert find_config(name).samefile(own)
        assert config_file(str(name)) == str(own)
    (tmp_path / "DSB2018").mkdir()
    (tmp_path / "DSB2018/unet_small.yaml").write_text("VERSION: 2")
    assert find_config("DSB2018/unet_small.yaml").resolve() == tmp_path / "DSB2018/unet_small.yaml"
    # the text as it was typed, and below the current directory no folders of this machine
    assert config_file("DSB2018/unet_small.yaml") == "DSB2018/unet_small.yaml"
    monkeypatch.chdir(repository)
    assert config_file("DSB2018/unet_small.yaml") == "configs/DSB2018/unet_small.yaml"


def test_installed_configs_find_the_models_of_the_package(tmp_path, monkeypatch):
    package = tmp_path / "nucdet"  # as a wheel leaves it: the configs are inside
    for folder in ("configs", "model_zoo"):
        (package / folder).mkdir(parents=True)
    (package / "model_zoo/model.yaml").write_text("A: 1")
    config = write(package / "configs", finetune='_BASE_: "../nucdet/model_zoo/model.yaml"')
    monkeypatch.setattr("nucdet.config_files._PACKAGE", package)
    assert read_config_file(config) == {"A": 1}
    config.write_text('_BASE_: "../nucdet/model_zoo/other.yaml"')
    with pytest.raises(FileNotFoundError, match=r"other\.yaml: no such config file"):
        read_config_file(config)


@pytest.mark.parametrize(
    ("name", "proposal"),
    [
        ("DSB2018/unet_smal.yaml", "nucdet has DSB2018/unet_small.yaml"),
        ("crop_rcnn.yaml", "nucdet has DSB2018/crop_rcnn.yaml"),
        ("LIVECell/x.yaml", "nucdet has LIVECell/mask_rcnn_R_50_FPN.yaml, LIVECell/mask_rcnn_lite"),
        ("zzz", "give the path of a yaml, or a name below DSB2018, LIVECell, "),
        ("../configs/DSB2018/unet_small.yaml", "nucdet has DSB2018/unet_small.yaml"),
    ],
)
def test_an_unknown_config_proposes_others(tmp_path, monkeypatch, name, proposal):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        find_config(name)
    assert str(caught.value).startswith(f"{name}: no such config file; {proposal}")


def test_a_base_may_be_one_of_nucdets_configs(tmp_path):
    path = write(tmp_path, mine="_BASE_: DSB2018/unet_small.yaml\nSEED: 7")
    assert load_config(path).dump() == load_config("DSB2018/unet_small.yaml", ["SEED", "7"]).dump()


def test_a_wheel_holds_every_config(repository, tmp_path):
    command = [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", str(tmp_path)]
    command += ["build", "--build-base", str(tmp_path)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    # as from a wheel, in a directory without a checkout
    code = "from nucdet.config_files import *; print(config_names(), find_config('finetune.yaml'))"
    built = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "lib")},
        check=True,
        capture_output=True,
        text=True,
    )
    found = f"{config_names()} {tmp_path / 'lib/nucdet/configs/finetune.yaml'}\n"
    assert built.stdout == found and "LIVECell/mask_rcnn_R_50_FPN.yaml" in found
