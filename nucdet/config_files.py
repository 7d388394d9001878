"""Config yamls: found by path or by name, read with their ``_BASE_`` so that no file runs code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from nucdet.errors import InputError, similar_names

_BASE = "_BASE_"

_PACKAGE = Path(__file__).parent
# an installed package carries the configs inside; in a checkout they lie beside it
_CONFIGS = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which also reads the tuples that Detectron2 writes into its dumps."""


_PlainLoader.add_constructor(
    "tag:yaml.org,2002:python/tuple",
    lambda loader, node: tuple(loader.construct_sequence(node, deep=True)),
)


def config_names() -> list[str]:
    """The names of the configs that come with nucdet, such as DSB2018/unet_small.yaml, sorted."""
    return sorted(path.relative_to(_CONFIGS).as_posix() for path in _CONFIGS.rglob("*.yaml"))


def find_config(name: str | Path) -> Path:
    """A config file by its path or, from any directory, by its name among nucdet's own.

    Args:
        name: a path, absolute or relative to the current directory; or a name of
            :func:`config_names`, also with ``configs/`` before it as in a checkout. A file at the
            path goes before nucdet's own of that name.

    Raises:
        FileNotFoundError: there is neither; the message proposes similar names.

    Example:
        >>> find_config("DSB2018/unet_small.yaml").name
        'unet_small.yaml'
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if own := _own_config(path):
        return own
    raise FileNotFoundError(f"{name}: no such config file{_proposal(path)}")


def _own_config(path: Path) -> Path | None:
    """nucdet's own config of that name, if there is one."""
    parts = path.parts[1:] if path.parts[:1] == ("configs",) else path.parts
    own = _CONFIGS.joinpath(*parts)
    inside = not path.is_absolute() and ".." not in parts
    return own if inside and own.is_file() else None


def _packaged(base: Path) -> Path | None:
    """The file of the package that one of nucdet's own configs names, as ../nucdet/model_zoo/….

    That is its place in a checkout; an installed package has the configs inside, not beside it.
    """
    place = Path(os.path.normpath(base))
    doubled = _PACKAGE / _PACKAGE.name
    if not place.is_relative_to(doubled):
        return None
    inside = _PACKAGE / place.relative_to(doubled)
    return inside if inside.is_file() else None


def _proposal(path: Path) -> str:
    """What may have been meant, for a message."""
    names = config_names()
    wanted = path.with_suffix("").as_posix() if path.name else "…"
    similar = similar_names(names, wanted, path.stem) or [
        name for name in names if Path(name).parent == path.parent != Path()
    ]
    if similar:
        return f"; nucdet has {', '.join(similar[:5])}"
    folders = sorted({name.rpartition("/")[0] for name in names} - {""})
    return f"; give the path of a yaml, or a name below {', '.join(folders)} of nucdet's configs"


def read_config_file(path: str | Path) -> dict[str, Any]:
    """The keys of a config file, with what it inherits from the files in its ``_BASE_``.

    Detectron2's own reader falls back to ``yaml.unsafe_load``, which runs whatever a file asks for.
    Here a file holds numbers, text, lists, tuples and mappings, and nothing else.

    Args:
        path: of the yaml, or a name that :func:`find_config` knows. ``_BASE_`` (a file or a list
            of files) is relative to its folder; where there is no such file, it may be the name of
            one of nucdet's own configs.

    Returns:
        Nested mappings, ``_BASE_`` resolved: the later of two values counts.

    Raises:
        FileNotFoundError: there is no such file, or none that ``_BASE_`` names.
        InputError: not a yaml mapping, a tag that would create an object, a loop of ``_BASE_``, or
            one that is no file.
    """
    return _read(find_config(path), ())


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
    except (yaml.YAMLError, ValueError) as error:  # no such date, no UTF-8
        raise InputError(f"{path}: not readable as yaml ({error}); mend that place") from error


def _bases(path: Path, named: Any) -> list[Path]:
    names = named if isinstance(named, list) else [named]
    bases = []
    for name in names:
        if not isinstance(name, str) or "://" in name:
            raise InputError(f"{path}: {_BASE} is {name!r}; expected a file on this machine")
        # an absolute path stays what it is
        base = path.parent / Path(name).expanduser()
        bases.append(base if base.is_file() else _own_config(Path(name)) or _packaged(base) or base)
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
