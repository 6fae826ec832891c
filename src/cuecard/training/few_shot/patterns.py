"""Patterns: several ways to ask one task, and what cannot be used as such."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cuecard.errors import ConfigError
from cuecard.methods import PromptTuning
from cuecard.tasks import TaskSpec, Template


def words_of(pattern: str) -> str:
    """A pattern's words, with its fields' names where they stand."""
    pieces = Template(pattern).pieces
    own = ("prompt", "mask")
    return "".join("" if p.is_field and p.text in own else p.text for p in pieces)


def with_template(spec: TaskSpec, template: str) -> TaskSpec:
    """The task asked in a pattern's words."""
    return TaskSpec.parse({**spec.model_dump(), "template": template})


def check_patterns(
    spec: TaskSpec, patterns: Sequence[str], method: PromptTuning, temperature: float
) -> None:
    """
    Raises:
        ConfigError: patterns that cannot be used together, or settings that contradict them.
    """
    if not spec.task_kind.single_label or spec.mode != "labels":
        raise ConfigError(
            "patterns are for classifications that are answered in words",
            where="cuecard pet",
            got=f"the kind {spec.kind}{' with a head' if spec.mode == 'head' else ''}",
            expected="a classification without a head",
        )
    texts = [words_of(pattern) for pattern in patterns]
    if len(patterns) < 2 or len({*texts}) < len(texts):
        raise ConfigError(
            "an ensemble of patterns needs several different ones",
            where="patterns",
            got="; ".join(map(repr, patterns)) or "none",
            expected="two or more, no two with the same words",
        )
    asked = {*spec.field_names}
    for pattern in patterns:
        if {*Template(pattern).fields} != asked:
            raise ConfigError(
                "the patterns do not name the same fields",
                where="patterns",
                got=repr(pattern),
                expected=f"the fields {', '.join(sorted(asked))}",
            )
    if method.init != "text" or method.text is not None or method.decoder_length:
        raise ConfigError(
            "each prompt starts from its pattern's words",
            where="method",
            got=f"init={method.init!r}, text={method.text!r}, "
            f"decoder_length={method.decoder_length}",
            expected="init='text' without a text, and no decoder vectors",
        )
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(
            "the temperature must be a positive number", where="temperature", got=temperature
        )


def check_generations(generations: int, growth: float) -> None:
    """
    Raises:
        ConfigError: none at all, or sets that do not grow.
    """
    if generations < 1:
        raise ConfigError(
            "the patterns are trained once at least", where="generations", got=generations
        )
    if not (math.isfinite(growth) and growth > 1):
        raise ConfigError(
            "the sets of later generations must grow",
            where="growth",
            got=growth,
            expected="a number above 1",
        )
