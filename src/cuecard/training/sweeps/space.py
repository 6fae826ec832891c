"""What a sweep tries: lists of values and ranges, by a recipe's keys."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cuecard.errors import ConfigError
from cuecard.methods import MethodSettings
from cuecard.settings import parse_settings
from cuecard.shards import FLAG, Shard
from cuecard.training.config import TrainConfig
from cuecard.training.trainables.own_rate import check_one_rate
from cuecard.validation_text import counted

Settings = dict[str, Any]
Method = TypeVar("Method", bound=BaseModel)

# What all trials share: how they are kept, and what they are compared by.
_SHARED = {"checkpoint_every", "inputs", "select"}
_TRIALS = 20


class SweepConfig(BaseModel):
    """What to try, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grid: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict,
        description="Values to try, such as lr=0.003,0.01 or method.init=text,random.",
    )
    ranges: dict[str, str] = Field(
        default_factory=dict,
        description="Numbers for tpe to try, from low to high: lr=0.001..0.1:log, evenly over "
        "their logarithms, or method.length=5..50.",
    )
    search: Literal["grid", "tpe"] = Field(
        default="grid",
        description="Try every combination, or let tpe propose trials. tpe is Optuna's "
        'tree-structured Parzen estimator (Bergstra et al., "Algorithms for Hyper-Parameter '
        'Optimization", NeurIPS 2011), which takes `ranges`, and `grid` as choices.',
    )
    trials: int | None = Field(
        default=None, ge=1, description="Trials of tpe, per task; by default 20."
    )
    prune: bool | None = Field(
        default=None,
        description="End trials early that are below the median of the finished ones at the same "
        "step; by default with tpe alone. It is Optuna's median pruner.",
    )
    together: int | None = Field(
        default=None,
        ge=1,
        description="Trials in one pass; by default what fits in memory, 8 at most.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of tpe's proposals.")
    shard: str | None = Field(
        default=None,
        exclude_if=lambda given: given is None,
        description="Train this share of a grid alone, such as 0/4, the first of four: other "
        "processes train the others, and --collect chooses among all.",
    )

    @field_validator("shard")
    @classmethod
    def _check_shard(cls, text: str | None) -> str | None:
        """
        Raises:
            ConfigError: not of the form 0/4.
        """
        return text if text is None else str(Shard.parse(text))

    @property
    def share(self) -> Shard:
        """Which trials are this process's own; all of them are one share."""
        return Shard(0, 1) if self.shard is None else Shard.parse(self.shard)

    @property
    def prunes(self) -> bool:
        """Whether trials may be ended early."""
        return self.search == "tpe" if self.prune is None else self.prune


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, whole ones if both are; `log`: evenly over their logarithms."""

    low: float
    high: float
    log: bool


Axis = tuple[Any, ...] | Range


class Space:
    """A sweep's keys, checked against a method's and the training's settings.

    Args:
        method, config: what every trial starts from.

    Raises:
        ConfigError: an unknown key, with the nearest valid one; a value or range that cannot be
            used; a value given twice; nothing to try.
    """

    def __init__(self, sweep: SweepConfig, method: MethodSettings, config: TrainConfig) -> None:
        self._method, self._config = method, config
        self.axes: dict[str, Axis] = {}
        for name, values in sweep.grid.items():
            if not values:
                raise ConfigError("the list of values is empty", where=f"--grid {name}")
            check_different(values, f"--grid {name}")
            self._add(name, tuple(values))
        for name, text in sweep.ranges.items():
            self._add(name, parse_range(name, text))
        if not self.axes:
            raise ConfigError(
                "there is nothing to sweep", where="the sweep", expected='--grid "lr=0.003,0.01"'
            )
        if sweep.search == "grid" and (sweep.ranges or sweep.trials):
            raise ConfigError(
                "a grid search tries every combination",
                where="search grid",
                got="a range" if sweep.ranges else f"trials {sweep.trials}",
                expected="lists of values alone, or search tpe",
            )
        # A grid's combinations, or the corners of a space: errors are raised before any work.
        self.combinations = list(self._product())
        for settings in self.combinations:
            self.applied(settings)
        self.total = len(self.combinations) if sweep.search == "grid" else sweep.trials or _TRIALS
        _check_alone(sweep, self.total)

    def applied(self, settings: Settings) -> tuple[Any, TrainConfig]:
        """The method's and the training's settings of one trial.

        Raises:
            ConfigError: values that do not fit.
        """
        parts: dict[str, Settings] = {"method": {}, "training": {}}
        for key, value in settings.items():
            section, name = key.split(".", 1)
            parts[section][name] = value
        config = _changed(self._config, parts["training"], "training")
        if config.lr == "auto":
            raise ConfigError(
                "a sweep chooses learning rates itself",
                where="training.lr",
                got="auto",
                expected="a number, or rates to try: --grid lr=0.003,0.01",
            )
        method = _changed(self._method, parts["method"], "method")
        check_one_rate(method, config.lr)
        return method, config

    def _add(self, name: str, axis: Axis) -> None:
        key = self._key(name)
        if key in self.axes:
            raise ConfigError("a key is given twice", where="the sweep", got=key, expected="once")
        self.axes[key] = axis

    def _key(self, name: str) -> str:
        """The full key for `training.lr` or `lr`."""
        sections = {"training": self._config, "method": self._method}
        keys = [
            f"{section}.{field}"
            for section, model in sections.items()
            for field, info in type(model).model_fields.items()
            if field not in _SHARED and not info.exclude
        ]
        found = [key for key in keys if name in (key, key.split(".", 1)[1])]
        if len(found) == 1:
            return found[0]
        short = {key.split(".", 1)[1]: key for key in keys}
        near = difflib.get_close_matches(name, [*keys, *short], 1, 0.5)
        raise ConfigError(
            "this key fits more than one setting" if found else "an unknown setting",
            where="the sweep",
            got=name,
            expected=", ".join(found or keys),
            hint=f"did you mean {near[0]}?" if near and not found else None,
        )

    def _product(self) -> list[Settings]:
        lists = [
            (axis.low, axis.high) if isinstance(axis, Range) else axis
            for axis in self.axes.values()
        ]
        return [dict(zip(self.axes, values, strict=True)) for values in itertools.product(*lists)]


def _check_alone(sweep: SweepConfig, total: int) -> None:
    """
    Raises:
        ConfigError: a shard whose trials depend on those of other shards, or that may have none.
    """
    if sweep.shard is None:
        return
    if sweep.search == "tpe" or sweep.prunes:
        raise ConfigError(
            "a shard knows nothing of the other shards' trials",
            where=FLAG,
            got="search tpe" if sweep.search == "tpe" else "prune",
            expected="a grid whose trials all run to their ends",
            hint="without --shard, one process proposes and prunes",
        )
    if sweep.share.count > total:
        raise ConfigError(
            "more shards than trials",
            where=FLAG,
            got=f"{sweep.share.count:,} shards of {counted(total, 'trial')}",
            expected=f"{total:,} shards at most",
        )


def check_different(values: Sequence[Any], where: str) -> None:
    """
    Raises:
        ConfigError: a value is given twice: the same run would count as two.
    """
    twice = [value for at, value in enumerate(values) if value in values[:at]]
    if twice:
        raise ConfigError(
            "a value is given twice",
            where=where,
            got=", ".join(map(str, values)),
            expected=f"{twice[0]} once",
        )


def parse_range(name: str, text: str) -> Range:
    """ "1e-3..1e-1:log" as a range.

    Raises:
        ConfigError: another form, or a low end that is not below the high one.
    """
    ends, _, scale = text.partition(":")
    low, dots, high = ends.partition("..")
    numbers = [parse_value(low), parse_value(high)]
    good = bool(dots) and scale in ("", "log") and all(_is_number(n) for n in numbers)
    if not good or not numbers[0] < numbers[1] or (scale and numbers[0] <= 0):
        raise ConfigError(
            "not a range",
            where=f"--range {name}",
            got=text,
            expected="low..high or low..high:log, low below high, and above 0 for log",
        )
    return Range(numbers[0], numbers[1], scale == "log")


def parse_value(text: str) -> Any:
    """A value as typed: a whole number, a number, none, true, false, or a text."""
    word = text.strip()
    known = {"none": None, "true": True, "false": False}
    if word.lower() in known:
        return known[word.lower()]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def parse_values(text: str) -> tuple[Any, ...]:
    """Values with commas between them; see `parse_value`."""
    return tuple(map(parse_value, text.split(",")))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _changed(model: Method, changes: Mapping[str, Any], section: str) -> Method:
    """A copy with some settings changed, checked as a whole."""
    values = {name: getattr(model, name) for name in model.model_fields_set} | dict(changes)
    return parse_settings(type(model), values, f"the sweep, {section}")
