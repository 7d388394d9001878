"""The search space: axes, read from the command line, as Optuna distributions."""

from __future__ import annotations

import itertools
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from nucdet.errors import InputError

VARIANT = "variant"
Point = dict[str, Any]  # a value of each axis
TPE_STARTUP = 10  # settings that are drawn at random before TPE has learned anything
_DRAW = re.compile(r"(loguniform|uniform|choice)\((.*)\)")
_DIGITS = 4  # significant digits of a drawn number
_LOG_FROM = 30  # a grid is plotted on a log scale if its largest / smallest number is at least this


@dataclass(frozen=True)
class SearchSpace:
    """What a search varies: either combinations of grids and variants, or random draws.

    Attributes:
        grids, variants: see :func:`grid_axes`.
        draws: see :func:`drawn_axes`.
        trials: the number of settings drawn; None for grids and variants.
        sampler: ``"random"``, or ``"tpe"`` to draw more often where earlier settings did well.
        seed: random seed of the draws.

    Raises:
        InputError: both grids or variants and draws are given, or neither, or ``trials`` is missing
            for draws or given without them.
    """

    grids: Sequence[str] = ()
    variants: Sequence[str] = ()
    draws: Sequence[str] = ()
    trials: int | None = None
    sampler: str = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        drawn = bool(self.draws)
        if drawn == bool(self.grids or self.variants):
            raise InputError("expected either --grid and --variant, or --random; see --help")
        if drawn != (self.trials is not None):
            raise InputError("--trials N belongs to --random, and --random needs it")
        if drawn and self.trials < 1:
            raise InputError(f"--trials {self.trials}: expected 1 or more")

    @property
    def learned_trials(self) -> int:
        """The final number of settings if TPE chooses them during the search, else 0."""
        return self.trials if self.draws and self.sampler == "tpe" else 0

    def axes(self, current: Mapping[str, Any]) -> list[Axis]:
        """The axes; ``current`` contains the value of every key in the config."""
        if self.draws:
            return drawn_axes(self.draws, current)
        return grid_axes(self.grids, self.variants)

    def points(self, axes: Sequence[Axis]) -> list[Point]:
        """The settings known before the first training; for TPE, those drawn at random first."""
        if not self.draws:
            return grid_points(axes)
        count = min(self.trials, TPE_STARTUP) if self.learned_trials else self.trials
        return random_points(axes, count, self.seed)


@dataclass(frozen=True)
class Axis:
    """One thing that is varied.

    Attributes:
        name: a config key, or VARIANT.
        distribution: the distribution from which Optuna takes values.
        choices: the KEY VALUE pairs of each value; empty for numbers drawn from a range.
    """

    name: str
    distribution: BaseDistribution
    choices: Mapping[Any, tuple[str, ...]]

    def overrides(self, value: Any) -> tuple[str, ...]:
        """The KEY VALUE pairs that set this value in the config."""
        if self.choices:
            return self.choices[value]
        whole = isinstance(self.distribution, IntDistribution)
        # a float key requires a decimal point or an exponent
        return self.name, str(value) if whole else str(float(f"{value:.{_DIGITS}g}"))


def grid_axes(grids: Sequence[str], variants: Sequence[str] = ()) -> list[Axis]:
    """Axes all combinations of which are tried.

    Args:
        grids: one axis each, as ``"KEY=V1,V2,…"``; values as on the command line of nucdet-train.
            Commas inside brackets and quotes belong to the value.
        variants: together one more axis, as ``"NAME: KEY VALUE KEY VALUE …"``, for changes of
            several keys at once (with and without augmentation); no pairs: the unchanged config.

    Raises:
        InputError: a text that does not parse, or an axis given twice.
    """
    axes = []
    for text in grids:
        key, rest = _key_and_rest("--grid", text, "KEY=V1,V2,…")
        values = split_values(rest, f"--grid {key}")
        numbers = _numbers(values)
        choices = {v: (key, text) for v, text in zip(numbers or values, values, strict=True)}
        distribution: BaseDistribution = CategoricalDistribution(list(choices))
        if numbers:  # a range instead of categories, so that Optuna's plots have a numeric axis
            low, high = min(numbers), max(numbers)
            distribution = FloatDistribution(low, high, log=low > 0 and high / low >= _LOG_FROM)
        axes.append(Axis(key, distribution, choices))
    if variants:
        pairs = [_variant(text) for text in variants]
        names = [name for name, _ in pairs]
        if len({*names}) < len(names):
            raise InputError(f"--variant: names {names}, expected different ones")
        axes.append(Axis(VARIANT, CategoricalDistribution(names), dict(pairs)))
    return _distinct("--grid", axes)


def drawn_axes(draws: Sequence[str], current: Mapping[str, Any]) -> list[Axis]:
    """Axes whose values are drawn at random.

    Args:
        draws: ``"KEY=loguniform(LOW,HIGH)"``, ``"KEY=uniform(LOW,HIGH)"`` or
            ``"KEY=choice(V1,V2,…)"``.
        current: the value of every key in the config; if it is an integer, integers are drawn.

    Raises:
        InputError: a text that does not parse, a key that is unknown or given twice, a range that
            is empty or not positive for ``loguniform``.
    """
    axes = []
    for text in draws:
        key, rest = _key_and_rest("--random", text, "KEY=loguniform(LOW,HIGH)")
        if key not in current:
            raise InputError(f"--random {key}: there is no such key in the config")
        match = _DRAW.fullmatch(rest)
        if not match:
            raise InputError(
                f"--random {key}: found {rest!r}, expected loguniform(LOW,HIGH), "
                "uniform(LOW,HIGH) or choice(V1,V2,…)"
            )
        kind, values = match[1], split_values(match[2], f"--random {key}")
        if kind == "choice":
            choices = {value: (key, value) for value in values}
            axes.append(Axis(key, CategoricalDistribution(values), choices))
            continue
        numbers = _numbers(values)
        if not numbers or len(numbers) != 2:
            raise InputError(f"--random {key}: found {rest!r}, expected two numbers")
        log = kind == "loguniform"
        try:
            if type(current[key]) is int:
                bounds = IntDistribution(*map(round, numbers), log=log)
            else:
                bounds = FloatDistribution(*numbers, log=log)
        except ValueError as error:
            raise InputError(f"--random {key}: found {rest!r}: {error}") from None
        axes.append(Axis(key, bounds, {}))
    return _distinct("--random", axes)


def grid_points(axes: Sequence[Axis]) -> list[Point]:
    """Every combination of the axes' choices."""
    names = [axis.name for axis in axes]
    values = itertools.product(*(axis.choices for axis in axes))
    return [dict(zip(names, point, strict=True)) for point in values]


def random_points(axes: Sequence[Axis], count: int, seed: int) -> list[Point]:
    """Points drawn independently by Optuna's random sampler; a larger count extends the list."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    distributions = {axis.name: axis.distribution for axis in axes}
    return [study.ask(distributions).params for _ in range(count)]


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


def _numbers(values: Sequence[str]) -> list[float] | None:
    """The values as numbers if all of them are finite and distinct, else None."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) and len({*numbers}) == len(values) else None


def _distinct(option: str, axes: list[Axis]) -> list[Axis]:
    names = [axis.name for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{option} {name}: given twice; name all its values in one")
    return axes


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
