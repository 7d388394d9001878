"""Which MODEL.WEIGHTS may be used for prediction."""

import pytest

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.predict.segmenter import configure, default_model

SHIPPED = "nucdet://nuclei"


@pytest.fixture
def config(tmp_path):
    """The config that a training which started from the shipped model has written."""
    path = tmp_path / "config.yaml"
    path.write_text(load_config(default_model(), ["MODEL.WEIGHTS", SHIPPED]).dump())
    return path


def used(*given, **more):
    cfg = configure(*given, **more)
    return cfg.MODEL.WEIGHTS


def test_a_training_without_result_is_not_refused(config):
    assert used(config) == SHIPPED


@pytest.mark.parametrize("name", ["model_final.pth", "model_best.pth"])
def test_the_weights_a_training_started_from_are_not_its_result(config, name):
    result = config.with_name(name)
    result.touch()
    message = (
        rf"config\.yaml: its MODEL\.WEIGHTS {SHIPPED} are those .* add MODEL\.WEIGHTS .*{name}"
    )
    with pytest.raises(InputError, match=message):
        used(config)
    for weights in (str(result), SHIPPED):  # whoever names them means them
        assert used(config, weights) == weights
        assert used(config, overrides=["MODEL.WEIGHTS", weights]) == weights
    config.write_text(load_config(config, ["MODEL.WEIGHTS", str(result)]).dump())
    assert used(config) == str(result)
