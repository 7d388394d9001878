"""The only place that opens checkpoints; it reads weights and never runs code from a file."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from nucdet.errors import InputError

# The globals that pickles in Detectron2's and Detectron's model zoos refer to. Any other that a
# pickle asks for could be a function that deletes files.
_HARMLESS = {
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),  # bytes, in the protocol of Python 2
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint: tensors, arrays, numbers and text in dicts, never code.

    ``.pkl`` files are those of Detectron2's model zoo; all others are read as ``torch.save`` writes
    them. Their parts are compared with their checksums first, so that a damaged file is found
    before a network computes with it.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is damaged, is not a checkpoint, or would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    try:
        content = _unpickle(path) if path.suffix == ".pkl" else _torch_load(path)
    except InputError:
        raise
    # for a damaged or foreign file the readers may raise nearly anything
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path}: not a readable checkpoint ({type(error).__name__}: {reason}); "
            "copy or train it again"
        ) from error
    if not isinstance(content, dict) or not content:
        found = "an empty dict" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise InputError(f"{path}: holds {found}; expected a dict of weights, as trainings save it")
    return content


def _torch_load(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise InputError(
                f"{path}: damaged ({damaged} differs from its checksum); copy or train it again"
            )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not any(words in str(error) for words in ("Unsupported global", "instantiate")):
            raise
        raise InputError(
            f"{path}: holds more than weights (what it asks for could run code); expected a "
            "checkpoint of tensors: save the state_dict() of the model alone"
        ) from error


def _unpickle(path: Path) -> Any:
    # latin1: arrays that Python 2 has pickled
    return _PlainUnpickler(io.BytesIO(path.read_bytes()), path, encoding="latin1").load()


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, path: Path, **kwargs: Any):
        super().__init__(file, **kwargs)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise InputError(
                f"{self._path}: asks for {module}.{name}, which weights do not need and "
                "which could run code; expected arrays alone"
            )
        return super().find_class(module, name)
