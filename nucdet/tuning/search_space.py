"""What a search tries: every combination of given values, or values drawn at random.

A random search over a few keys needs no more than numpy. The trainings are few and long: a sampler
that learns (Optuna's TPE) would hardly leave its random start-up phase, and independent draws can
be resumed, extended and repeated exactly.
"""

from __future__ import annotations

import itertools
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucdet.errors import InputError

VARIANT = "variant"
_DRAW = re.compile(r"(loguniform|uniform|choice)\((.*)\)")
_DIGITS = 4  # significant, of a drawn number


@dataclass(frozen=True)
class Setting:
    """One point of the search: its value on every axis, and the KEY VALUE pairs that make it."""

    labels: Mapping[str, str]
    overrides: tuple[str, ...]


def grid_settings(grids: Sequence[str], variants: Sequence[str] = ()) -> list[Setting]:
    """Every combination of the axes' values.

    Args:
        grids: ``"KEY=V1,V2,…"``, an axis each; values as on the command line of train_net.py, with
            commas inside brackets and quotes belonging to the value.
        variants: ``"NAME: KEY VALUE KEY VALUE …"``, together one more axis, for what takes several
            keys at once (with and without augmentation); no pair: the config as it is.

    Example:
        >>> [s.overrides for s in grid_settings(["A.B=(1,2),3"])]
        [('A.B', '(1,2)'), ('A.B', '3')]

    Raises:
        InputError: a text that does not parse, or an axis given twice.
    """
    axes: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for text in grids:
        key, values = _key_and_rest("--grid", text, "KEY=V1,V2,…")
        if key in axes:
            raise InputError(f"--grid {key}: given twice; name all its values in one")
        axes[key] = [(value, (key, value)) for value in split_values(values, f"--grid {key}")]
    if variants:
        axes[VARIANT] = [_variant(text) for text in variants]
        names = [name for name, _ in axes[VARIANT]]
        if len(set(names)) < len(names):
            raise InputError(f"--variant: names {names}, expected different ones")
    return [
        Setting(
            {axis: label for axis, (label, _) in zip(axes, point, strict=True)},
            tuple(itertools.chain.from_iterable(pairs for _, pairs in point)),
        )
        for point in itertools.product(*axes.values())
    ]


def random_settings(
    draws: Sequence[str], trials: int, seed: int, current: Mapping[str, Any]
) -> list[Setting]:
    """Settings drawn independently; more of them begin with the same ones.

    Args:
        draws: ``"KEY=loguniform(LOW,HIGH)"``, ``"KEY=uniform(LOW,HIGH)"`` or
            ``"KEY=choice(V1,V2,…)"``.
        trials: how many settings.
        seed: of the draws.
        current: value of every key in the config; where it is an integer, so are the drawn numbers.

    Raises:
        InputError: a text that does not parse, a key that is unknown or given twice, a range that
            is empty or not positive for ``loguniform``.
    """
    parsed = {}
    for text in draws:
        key, rest = _key_and_rest("--random", text, "KEY=loguniform(LOW,HIGH)")
        if key in parsed:
            raise InputError(f"--random {key}: given twice")
        if key not in current:
            raise InputError(f"--random {key}: there is no such key in the config")
        parsed[key] = _parse_draw(key, rest)
    random = np.random.default_rng(seed)
    settings = []
    for _ in range(trials):
        labels = {
            key: _drawn(kind, values, random.uniform(), type(current[key]) is int)
            for key, (kind, values) in parsed.items()
        }
        settings.append(Setting(labels, tuple(itertools.chain.from_iterable(labels.items()))))
    return settings


def log_uniform_keys(draws: Sequence[str]) -> set[str]:
    """The keys among ``draws`` that are drawn log-uniformly."""
    parts = (text.partition("=") for text in draws)
    return {key.strip() for key, _, rest in parts if rest.strip().startswith("loguniform")}


def split_values(text: str, source: str) -> list[str]:
    """Split at commas outside of brackets and quotes.

    Example:
        >>> split_values("(256,), [1, 2],'a,b'", "")
        ['(256,)', '[1, 2]', "'a,b'"]

    Raises:
        InputError: an empty value, or a bracket or quote that is not closed; names ``source``.
    """
    values, depth, lowest, quote = [""], 0, 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "," and depth == 0:
            values.append("")
            continue
        depth += 0 if quote else (letter in "([{") - (letter in ")]}")
        lowest = min(lowest, depth)
        values[-1] += letter
    values = [value.strip() for value in values]
    if depth or lowest < 0 or quote or not all(values):
        raise InputError(
            f"{source}: found {text!r}, expected values with commas between, brackets and quotes "
            "closed"
        )
    return values


def _key_and_rest(option: str, text: str, form: str) -> tuple[str, str]:
    key, equals, rest = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"{option} {text!r}: expected {form}")
    return key.strip(), rest.strip()


def _variant(text: str) -> tuple[str, tuple[str, ...]]:
    name, colon, rest = text.partition(":")
    try:
        pairs = tuple(shlex.split(rest))
    except ValueError as error:
        raise InputError(f"--variant {text!r}: {error}") from error
    if not colon or not name.strip() or len(pairs) % 2:
        raise InputError(f"--variant {text!r}: expected 'NAME: KEY VALUE KEY VALUE …'")
    return name.strip(), pairs


def _parse_draw(key: str, text: str) -> tuple[str, list[Any]]:
    match = _DRAW.fullmatch(text)
    if not match:
        raise InputError(
            f"--random {key}: found {text!r}, expected loguniform(LOW,HIGH), uniform(LOW,HIGH) or "
            "choice(V1,V2,…)"
        )
    kind, values = match[1], split_values(match[2], f"--random {key}")
    if kind == "choice":
        return kind, values
    try:
        low, high = map(float, values)
    except ValueError as error:
        raise InputError(f"--random {key}: found {text!r}, expected two numbers") from error
    if not (math.isfinite(low) and low < high < math.inf) or (kind == "loguniform" and low <= 0):
        above = "above 0, " if kind == "loguniform" else ""
        raise InputError(f"--random {key}: found {text!r}, expected numbers {above}the lower first")
    return kind, [low, high]


def _drawn(kind: str, values: Sequence[Any], uniform: float, whole: bool) -> str:
    """The value at ``uniform`` in 0–1 of the distribution."""
    if kind == "choice":
        return values[int(uniform * len(values))]
    low, high = values
    logarithmic = kind == "loguniform"
    number = low * (high / low) ** uniform if logarithmic else low + (high - low) * uniform
    # a float's text keeps its point or exponent, which a key that is a float insists on
    return str(round(number)) if whole else str(float(f"{number:.{_DIGITS}g}"))
