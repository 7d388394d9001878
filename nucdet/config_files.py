"""Config files: found by path or name, and read with their ``_BASE_`` without running any code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from nucdet.errors import InputError, similar_names

_BASE = "_BASE_"

_PACKAGE = Path(__file__).parent
# an installed package contains the configs; in a checkout they lie next to the package
_CONFIGS = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which also reads the tuples that Detectron2 writes into its dumps."""


_PlainLoader.add_constructor(
    "tag:yaml.org,2002:python/tuple",
    lambda loader, node: tuple(loader.construct_sequence(node, deep=True)),
)


def config_names() -> list[str]:
    """The sorted names of the configs that ship with nucdet, such as DSB2018/unet_small.yaml."""
    return sorted(path.relative_to(_CONFIGS).as_posix() for path in _CONFIGS.rglob("*.yaml"))


def find_config(name: str | Path) -> Path:
    """Find a config file by its path or, from any directory, by the name of one of nucdet's own.

    Args:
        name: a path, absolute or relative to the current directory; or one of
            :func:`config_names`, with or without ``configs/`` in front. A file at the path takes
            precedence over nucdet's own config of that name.

    Raises:
        FileNotFoundError: there is neither; the message suggests similar names.

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
    """nucdet's own config of that name, or None."""
    parts = path.parts[1:] if path.parts[:1] == ("configs",) else path.parts
    own = _CONFIGS.joinpath(*parts)
    inside = not path.is_absolute() and ".." not in parts
    return own if inside and own.is_file() else None


def _packaged(base: Path) -> Path | None:
    """The package's file that one of nucdet's own configs refers to as ../nucdet/model_zoo/….

    That path is right in a checkout. In an installed package, where the configs lie inside the
    package, it would lead to nucdet/nucdet/…, which is corrected here.
    """
    place = Path(os.path.normpath(base))
    doubled = _PACKAGE / _PACKAGE.name
    if not place.is_relative_to(doubled):
        return None
    inside = _PACKAGE / place.relative_to(doubled)
    return inside if inside.is_file() else None


def _proposal(path: Path) -> str:
    """The end of an error message: names that the user may have meant."""
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
    """Read the keys of a config file, including those inherited from the files in ``_BASE_``.

    Detectron2's own reader falls back to ``yaml.unsafe_load``, which runs code from the file. Here
    a file may contain only numbers, text, lists, tuples and mappings.

    Args:
        path: the yaml file, or a name that :func:`find_config` knows. ``_BASE_`` (a file or a list
            of files) is relative to the folder of the yaml file; if there is no such file, it may
            be the name of one of nucdet's own configs.

    Returns:
        Nested mappings with ``_BASE_`` resolved: the file's own values override inherited ones,
        and later files in ``_BASE_`` override earlier ones.

    Raises:
        FileNotFoundError: the file, or one that ``_BASE_`` names, does not exist.
        InputError: not a yaml mapping, a tag that would create an object, a ``_BASE_`` that leads
            back to the file, or one that does not name a file.
    """
    return _read(find_config(path), ())


def _read(path: Path, readers: tuple[Path, ...]) -> dict[str, Any]:
    named_by = ""
    if readers:  # often a copy of one of nucdet's configs, whose base is not beside the copy
        named_by = (
            f", which {readers[-1]} names as {_BASE}; expected a path from its folder, or the name "
            f"of one of nucdet's configs, such as {_BASE}: finetune.yaml"
        )
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
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date, or not UTF-8
        raise InputError(f"{path}: not readable as yaml ({error}); correct the file") from error


def _bases(path: Path, named: Any) -> list[Path]:
    names = named if isinstance(named, list) else [named]
    bases = []
    for name in names:
        if not isinstance(name, str) or "://" in name:
            raise InputError(f"{path}: {_BASE} is {name!r}; expected a file on this machine")
        # joining keeps an absolute path unchanged
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
