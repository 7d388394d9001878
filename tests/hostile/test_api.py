"""Bad arguments of the Segmenter: an InputError, or a TypeError where it is no argument at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nucdet import Segmenter

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.float32)
RGB = np.zeros((9, 9, 3), np.uint8)
SHAPE, DTYPE = r"found shape", r"expected at least one pixel of bool, integers or floats"

ARRAYS = {
    "none": (None, DTYPE),
    "text": ("image.png", DTYPE),
    "mapping": ({}, DTYPE),
    "ragged": ([[1], [2, 3]], "no array of pixels"),
    "objects": (np.array([[object()] * 4] * 4), DTYPE),
    "strings": (np.array([["a", "b"]]), DTYPE),
    "bytes": (np.zeros((4, 4), "S3"), DTYPE),
    "times": (np.zeros((4, 4), "M8[s]"), DTYPE),
    "complex": (np.zeros((5, 5), complex), DTYPE),
    "records": (np.zeros((4, 4), [("a", "u1")]), DTYPE),
    "raw": (np.zeros((4, 4), "V4"), DTYPE),
    "number": (5, SHAPE),
    "1 axis": (np.zeros(5), SHAPE),
    "4 axes": (np.zeros((2, 5, 5, 3)), SHAPE),
    "5 axes": (np.zeros((1, 1, 5, 5, 3)), SHAPE),
    "2 channels": (np.zeros((5, 5, 2)), SHAPE),
    "5 channels": (np.zeros((5, 5, 5)), SHAPE),
    "channels first": (np.zeros((3, 50, 50)), "move the channels to the end"),
    "empty": (np.zeros((0, 0)), DTYPE),
    "no width": (np.zeros((5, 0)), DTYPE),
    "no channels": (np.zeros((5, 5, 0)), DTYPE),
}
# arrays that are images, however odd their values: they are predicted, without a warning
ODD = {
    "nan": np.where(IMAGE > 250, np.nan, IMAGE),
    "all nan": np.full((9, 9), np.nan),
    "infinite": np.where(IMAGE > 250, np.inf, IMAGE),
    "minus infinite": np.where(IMAGE > 250, -np.inf, IMAGE),
    "huge": IMAGE.astype(np.float64) * 1e300,
    "tiny": IMAGE.astype(np.float64) * 1e-300,
    "unsigned 64": np.full((9, 9), 2**64 - 1, np.uint64),
    "signed 64": np.where(IMAGE > 99, 2**63 - 1, -(2**63)).astype(np.int64),
    "negative": -IMAGE,
    "long double": IMAGE.astype(np.longdouble),
    "half": IMAGE.astype(np.float16),
    "big-endian": IMAGE.astype(">f4"),
    "mirrored": IMAGE[::-1, ::-1],
    "read-only": np.broadcast_to(IMAGE[:1], (40, 50)),
    "masked": np.ma.masked_array(IMAGE, IMAGE > 100),
    "tensor": torch.from_numpy(IMAGE),
    "list": [[1, 2], [3, 4]],
    "one pixel": np.zeros((1, 1)),
    "one row": np.zeros((1, 3000), np.uint8),
}
CALLS = {
    "a batch of none": (lambda s, bad: s.predict_batch(None), "not iterable"),
    "one of a batch": (lambda s, bad: s.predict_batch([IMAGE, None]), f"image 1: .*{DTYPE}"),
    **{
        f"diameter {value}": (lambda s, bad, v=value: s.predict(IMAGE, diameter=v), "diameter is")
        for value in (0, -1, 1e-9, np.nan, np.inf, "big", [3], 1j)
    },
    **{
        f"channel {value}": (lambda s, bad, v=value: s.predict(RGB, channel=v), "no channel")
        for value in (3, -1, 10**30, 1.5, [0], "DAPI")
    },
    "no such file": (lambda s, bad: s.predict_file(bad / "none.png"), "No such file"),
    "a folder": (lambda s, bad: s.predict_file(bad), "not a regular file"),
    "a pipe": (lambda s, bad: s.predict_file(bad / "pipe.png"), "not a regular file"),
    "no name": (lambda s, bad: s.predict_file(""), "not a regular file"),
    "a number": (lambda s, bad: s.predict_file(5), "not '?int"),
    "a cut file": (lambda s, bad: s.predict_file(bad / "broken/a.png"), "damaged or cut short"),
    "a png that claims too much": (lambda s, bad: s.predict_file(bad / "bomb.png"), "damaged"),
    "a tiff that claims too much": (lambda s, bad: s.predict_file(bad / "bomb.tif"), "damaged"),
    "a json": (lambda s, bad: s.predict_file(bad / "good.json"), "not an image"),
    "no such depth": (lambda s, bad: s.predict_file(bad / "images/a.png", z="mid"), "--z mid"),
}
NETWORK = "DSB2018/unet_small.yaml"
OPTIONS = {
    "no such config": ({"config_file": "none.yaml"}, "no such config file"),
    "an empty name": ({"config_file": ""}, "no such config file"),
    "a config that is a number": ({"config_file": 5}, "not '?int"),
    "a config that runs code": ({"config_file": "{bad}/runs.yaml"}, "python/object/apply"),
    "a config in a loop": ({"config_file": "{bad}/loop.yaml"}, "leads back"),
    "no weights": ({"config_file": NETWORK}, "names no trained weights"),
    **{
        f"weights {name}": ({"config_file": NETWORK, "weights": weights}, line)
        for name, weights, line in (
            ("none.pth", "none.pth", "none.pth: no such file"),
            ("of another", "{bad}/ck_stranger.pth", "weights of another network"),
            ("cut short", "{bad}/ck_cut.pth", "not a readable checkpoint"),
            ("with code", "{bad}/ck_code.pkl", "could run code"),
            ("a list", "{bad}/ck_list.pth", "holds a list"),
            ("unknown scheme", "magic://x", "unknown source magic://"),
        )
    },
    **{
        f"overrides {value}": ({"overrides": value}, line)
        for value, line in (
            (["A"], "odd length"),
            (["A.B", "1"], "Non-existent key: A.B"),
            (5, "not iterable"),
            ([1, 2], "no attribute"),
            (["TEST.NUCLEUS_DIAMETER", "0"], "TEST.NUCLEUS_DIAMETER is 0"),
            (["INPUT.NORMALIZE", "magic"], "INPUT.NORMALIZE is 'magic'"),
        )
    },
    **{
        f"device {value}": ({"device": value}, "device is")
        for value in ("gpu", "cuda:99", "mps", None, 99)
    },
    **{
        f"threshold {value}": ({"threshold": value}, "score threshold")
        for value in (1, -1, "high", np.nan, [0.5], True)
    },
    "precision": ({"precision": "half"}, "precision is 'half'"),
}


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter("DSB2018/classical_watershed.yaml", device=torch.device("cpu"))


@pytest.mark.parametrize("name", ARRAYS)
def test_what_is_no_image(name, segmenter, judge):
    image, pattern = ARRAYS[name]
    with pytest.raises(ValueError) as caught:
        segmenter.predict(image)
    assert judge(caught.value, pattern) == "one clear line"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ODD)
def test_odd_values_are_an_image(name, segmenter):
    found = segmenter.predict(ODD[name])
    assert found.label_map().shape == np.shape(ODD[name])
    assert found.scores.isfinite().all()


@pytest.mark.parametrize("name", CALLS)
def test_bad_arguments_of_a_prediction(name, segmenter, judge, bad):
    call, pattern = CALLS[name]
    with pytest.raises((ValueError, TypeError, OSError)) as caught:
        call(segmenter, bad)
    assert judge(caught.value, pattern) == "one clear line"


@pytest.mark.parametrize("name", OPTIONS)
def test_bad_options(name, judge, bad, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, pattern = OPTIONS[name]
    texts = {k: v.format(bad=bad) if isinstance(v, str) else v for k, v in options.items()}
    with pytest.raises((ValueError, OSError)) as caught:
        Segmenter(**texts)
    assert judge(caught.value, pattern) == "one clear line"
    assert not (tmp_path / "hacked").exists()
