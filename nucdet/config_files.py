"""Config yamls with their chain of ``_BASE_``, read so that no file can run code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from nucdet.errors import InputError

_BASE = "_BASE_"


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which also reads the tuples that Detectron2 writes into its dumps."""


_PlainLoader.add_constructor(
    "tag:yaml.org,2002:python/tuple",
    lambda loader, node: tuple(loader.construct_sequence(node, deep=True)),
)


def read_config_file(path: str | Path) -> dict[str, Any]:
    """The keys of a config file, with what it inherits from the files in its ``_BASE_``.

    Detectron2's own reader falls back to ``yaml.unsafe_load``, which runs whatever a file asks for.
    Here a file holds numbers, text, lists, tuples and mappings, and nothing else.

    Args:
        path: of the yaml; ``_BASE_`` (a file or a list of files) is relative to its folder.

    Returns:
        Nested mappings, ``_BASE_`` resolved: the later of two values counts.

    Raises:
        FileNotFoundError: there is no such file, or none that ``_BASE_`` names.
        InputError: not a yaml mapping, a tag that would create an object, a loop of ``_BASE_``, or
            one that is no file.
    """
    return _read(Path(path), ())


def _read(path: Path, readers: tuple[Path, ...]) -> dict[str, Any]:
    named_by = f", which {readers[-1]} names as {_BASE}" if readers else ""
    if path.resolve() in [reader.resolve() for reader in readers]:
        raise InputError(f"{readers[-1]}: its {_BASE} leads back to {path}; name another file")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such config file{named_by}")
    content = _load(path)
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise InputError(f"{path}: holds {found}; expected config keys, such as MODEL: …")
    merged: dict[str, Any] = {}
    for base in _bases(path, content.pop(_BASE, [])):
        _merge(merged, _read(base, (*readers, path)), base)
    _merge(merged, content, path)
    return merged


def _load(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_PlainLoader)
    except yaml.constructor.ConstructorError as error:
        raise InputError(
            f"{path}: {error.problem}; a config may hold numbers, text, lists and mappings alone"
        ) from error
    except RecursionError:
        raise InputError(f"{path}: nested too deeply; expected config keys") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as yaml ({error}); mend that place") from error


def _bases(path: Path, named: Any) -> list[Path]:
    names = named if isinstance(named, list) else [named]
    bases = []
    for name in names:
        if not isinstance(name, str) or "://" in name:
            raise InputError(f"{path}: {_BASE} is {name!r}; expected a file on this machine")
        # an absolute path stays what it is
        bases.append(path.parent / Path(name).expanduser())
    return bases


def _merge(into: dict[str, Any], new: dict[str, Any], path: Path) -> None:
    for key, value in new.items():
        old = into.get(key)
        if isinstance(old, dict) != isinstance(value, dict) and key in into:
            raise InputError(f"{path}: {key} is {value!r}, in its {_BASE} it is {old!r}")
        if isinstance(value, dict) and isinstance(old, dict):
            _merge(old, value, path)
        else:
            into[key] = value
