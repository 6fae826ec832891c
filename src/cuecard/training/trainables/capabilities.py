"""What works with what: one table for `cuecard methods`, the documentation, the tests and refusals.

A method says what its injection requires, a family of backbones what it takes, and one model may
support less than its family. Nothing else decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cuecard.backbones.families import FAMILIES, Family, in_tower
from cuecard.errors import ConfigError
from cuecard.methods import METHODS
from cuecard.tasks import TaskSpec
from cuecard.types import (
    Backbone,
    HasLabelTower,
    Injection,
    InjectionKind,
    MethodConfig,
    Slot,
    Tower,
    by_tower,
)

# What some models of a family do not support. Each is asked before a run: `Backbone.unsupported`.
LIMITS: Mapping[str, str] = MappingProxyType(
    {
        "prefix-kv": "not models without keys and values of one shape (recurrent, compressed keys) "
        "or, among encoders, with an attention of their own",
        "late-prefix-kv": "not models with a sliding window or an attention of their own",
        "layer-tokens": "not encoders whose layers share their weights",
    }
)


@dataclass(frozen=True, slots=True)
class Capability:
    """A row of the table.

    Attributes:
        method: its name.
        about: what is trained, in a few words.
        needs: the kinds of its injection.
        settings: its settings with their defaults.
        rate: the setting that `training.lr` takes the place of; None for none.
        missing: family of backbones -> what it does not take; empty where the method works.
    """

    method: str
    about: str
    needs: tuple[str, ...]
    settings: Mapping[str, Any]
    rate: str | None
    missing: Mapping[str, tuple[str, ...]]


def capabilities() -> tuple[Capability, ...]:
    """The table, a row per method."""
    return tuple(
        Capability(
            method=name,
            about=method.about,
            needs=tuple(in_tower(kind, tower) for kind, tower in _required(method)),
            settings={
                setting: getattr(method, setting)
                for setting, field in type(method).model_fields.items()
                if not field.exclude
            },
            rate=method.rate,
            missing={name: _missing(method, family) for name, family in FAMILIES.items()},
        )
        for name, method in ((name, settings()) for name, settings in METHODS.items())
    )


def _required(method: MethodConfig) -> Iterator[tuple[InjectionKind, Tower]]:
    for tower, kinds in method.requires.items():
        yield from ((kind, tower) for kind in kinds)


def _missing(method: MethodConfig, family: Family) -> tuple[str, ...]:
    missing = [in_tower(*e) for e in _required(method) if family.unsupported(*e) is not None]
    return (*missing, *(("words",) if method.reads_words and "text" not in family.takes else ()))


def cells(row: Capability) -> tuple[str, ...]:
    """A row as text: method, what is trained, then per family "yes" or what is missing."""
    limits = "; ".join(["yes", *(LIMITS[kind] for kind in row.needs if kind in LIMITS)])
    answers = (f"no: {', '.join(kinds)}" if kinds else limits for kinds in row.missing.values())
    return row.method, row.about, *answers


def headings() -> tuple[str, ...]:
    """The columns of `cells`."""
    return "method", "trains", *(f"{family} backbones" for family in FAMILIES)


def markdown() -> str:
    """The table as the documentation has it."""
    rows = [headings(), ("---",) * len(headings()), *map(cells, capabilities())]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def check_supported(backbone: Backbone, method: MethodConfig) -> None:
    """Refuse, before any work, a method whose injection this backbone does not take.

    Raises:
        ConfigError: what the method requires, and why the backbone does not support it.
    """
    if method.reads_words and "text" not in backbone.takes:
        raise ConfigError(
            "this backbone cannot be used with this method",
            where=f"method {method.name}, backbone {backbone.name}",
            got="a model without words",
            expected="a language model",
            hint="`cuecard methods` shows which methods work where",
        )
    for kind, tower in _required(method):
        reason = backbone.unsupported(kind, tower)
        if reason is not None:
            raise ConfigError(
                "this backbone cannot be used with this method",
                where=f"method {method.name}, backbone {backbone.name}",
                got=reason,
                expected=f"a backbone that takes {in_tower(kind, tower)}",
                hint="prompts around labels' names need a model of images and texts, such as CLIP, "
                "with a tokenizer.json in its folder"
                if tower == "labels"
                else "`cuecard methods` shows which methods work where",
            )
    if {"labels", "vision"} <= {*method.requires} and isinstance(backbone, HasLabelTower):
        reason = backbone.apart()
        if reason is not None:
            raise ConfigError(
                "this backbone cannot be used with this method",
                where=f"method {method.name}, backbone {backbone.name}",
                got=reason,
                expected="a projection of the class token's state, as in CLIP",
                hint="coop, with vectors around names alone, works here",
            )


def is_late(backbone: Backbone, method: MethodConfig, spec: TaskSpec) -> bool:
    """Whether what differs from row to row is computed without the prompt: it can be remembered.

    That is a causal model's prompt after the input that leaves the input as it is, or one of an
    encoder-decoder's decoder alone.
    """
    if not backbone.causal:
        return set(method.requires) == {"decoder"}
    late = method.slot == "infix" and spec.parsed.with_prompt.prompt_is_late
    return (method.slot == "suffix" or late) and leaves_front(backbone, method)


def leaves_front(backbone: Backbone, method: MethodConfig) -> bool:
    """Whether what stands before the prompt's place is computed without the prompt."""
    shifts = "token-shifts" in method.requires.get("text", ())
    return backbone.causal and method.slot != "prefix" and not shifts


def check_head(backbone: Backbone, spec: TaskSpec, method: MethodConfig | None) -> None:
    """Refuse a pooled head where inputs are not computed without the prompt.

    Args:
        method: None for an adapter, which changes the layers.

    Raises:
        ConfigError: a prompt before the input, or a backbone that cannot leave it alone.
    """
    if spec.head != "pooled":
        return
    reason = backbone.unsupported("late-prefix-kv")
    if reason is None and method is not None and is_late(backbone, method, spec):
        return
    place = "an adapter" if method is None else f"method {method.name}, slot {method.slot}"
    raise ConfigError(
        "a pooled head reads the input as it is without the prompt",
        where="task.head",
        got=reason or place,
        expected="a prompt after the input, in a causal model: --slot suffix or infix",
        hint="--head trained works with every prompt",
    )


def check_slot(method: MethodConfig, spec: TaskSpec) -> None:
    """Refuse a template and a method that do not agree on where the prompt goes.

    Raises:
        ConfigError: `{prompt}` without the slot "infix", nothing after the place of late keys and
            values, or several places for them; of an image, any slot but "prefix"; vectors around
            labels' names where not just one of them is right.
    """
    if "labels" in method.requires and not spec.task_kind.single_label:
        raise ConfigError(
            "labels' names compete for an image, of which just one is right",
            where=f"method {method.name}, kind {spec.kind}",
            got=spec.task_kind.about,
            expected="the kind image-classification",
        )
    if spec.task_kind.tower != "text" and method.slot != "prefix":
        raise ConfigError(
            "an image has one place for a prompt",
            where=f"method {method.name}, slot",
            got=method.slot,
            expected="prefix",
        )
    if spec.parsed.has_prompt and method.slot != "infix":
        raise ConfigError(
            "the template and the method do not agree on where the prompt goes",
            where=f"method {method.name}, slot",
            got=f"slot {method.slot} and the template {spec.template!r}",
            expected="slot infix with {prompt} in the template, or neither",
        )
    if "late-prefix-kv" in method.requires.get("text", ()):
        _check_late(method, spec)


def check_places(method: MethodConfig, injection: Injection, spec: TaskSpec) -> None:
    """Refuse a prompt that does not go over the template's places.

    Raises:
        ConfigError: `{prompt:5}` and another length, or fewer vectors than places.
    """
    dealt, places = sum(spec.parsed.deal), len(spec.parsed.deal)
    among = by_tower(injection).get("text")
    length = places if among is None else among.length
    if length == dealt or (not dealt and length >= places):
        return
    raise ConfigError(
        "the template places another number of vectors than the method has",
        where=f"method {method.name}, length",
        got=length,
        expected=f"{dealt or f'at least {places}'}, as in the template {spec.template!r}",
        hint=f"--length {dealt or places}",
    )


def _check_late(method: MethodConfig, spec: TaskSpec) -> None:
    template = spec.parsed.with_prompt
    if template.ends_with_prompt or template.places > 1:
        raise ConfigError(
            "late keys and values need one place, and words of the template after it",
            where=f"method {method.name}, slot infix",
            got=repr(spec.template),
            expected=r"a template that goes on after its last field, such as '{text}\nLabel:'",
            hint="or the slot prefix",
        )


def check_reads(backbone: Backbone, method: str, slot: Slot, spec: TaskSpec) -> None:
    """Refuse a task that reads a state per token where those states do not know of the prompt.

    Raises:
        ConfigError: an encoder-decoder, which has no such states to read, or a prompt after the
            text.
    """
    if not spec.read_field:
        return
    if "decoder" in backbone.takes:
        raise ConfigError(
            f"the kind {spec.kind} reads a state per token, which an encoder-decoder does not give",
            where=f"backbone {backbone.name}",
            got="an encoder-decoder",
            expected="a causal or masked language model",
        )
    if slot != "prefix":
        raise ConfigError(
            f"the kind {spec.kind} reads the text's own tokens, which know of a prompt before them",
            where=f"method {method}, slot",
            got=slot,
            expected="prefix",
        )
