"""What works with what: one table for `cuecard methods`, the documentation, the tests and refusals.

A method says what its injection needs, a family of backbones what it takes, and one model may still
lack what its family takes. Nothing else decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cuecard.backbones import TAKES as FAMILIES
from cuecard.errors import ConfigError
from cuecard.methods import METHODS
from cuecard.tasks import TaskSpec
from cuecard.types import Backbone, MethodConfig, Need

# What some models of a family lack. Each model is asked itself before a run: `Backbone.lacks`.
LIMITS: Mapping[Need, str] = MappingProxyType(
    {
        "prefix-kv": "not models without keys and values of one shape (recurrent, compressed keys) "
        "or, among encoders, with an attention of their own",
        "layer-tokens": "not encoders whose layers share their weights",
    }
)


@dataclass(frozen=True, slots=True)
class Capability:
    """A row of the table.

    Attributes:
        method: its name.
        about: what is trained, in a few words.
        needs: what its injection asks of a backbone.
        settings: its settings with their defaults.
        missing: family of backbones -> what it lacks; empty where the method works.
    """

    method: str
    about: str
    needs: tuple[Need, ...]
    settings: Mapping[str, Any]
    missing: Mapping[str, tuple[Need, ...]]


def capabilities() -> tuple[Capability, ...]:
    """The table, a row per method."""
    return tuple(
        Capability(
            method=name,
            about=method.about,
            needs=method.needs,
            settings=method().model_dump(mode="json"),
            missing={
                family: tuple(need for need in method.needs if need not in takes)
                for family, takes in FAMILIES.items()
            },
        )
        for name, method in METHODS.items()
    )


def cells(row: Capability) -> tuple[str, ...]:
    """A row as text: method, what is trained, then per family "yes" or what it lacks."""
    limits = "; ".join(["yes", *(LIMITS[need] for need in row.needs if need in LIMITS)])
    answers = (f"no: {', '.join(lacked)}" if lacked else limits for lacked in row.missing.values())
    return row.method, row.about, *answers


def headings() -> tuple[str, ...]:
    """The columns of `cells`."""
    return "method", "trains", *(f"{family} backbones" for family in FAMILIES)


def markdown() -> str:
    """The table as the documentation has it."""
    rows = [headings(), ("---",) * len(headings()), *map(cells, capabilities())]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def check_needs(backbone: Backbone, method: MethodConfig) -> None:
    """Refuse, before any work, a method whose injection this backbone cannot take.

    Raises:
        ConfigError: what the method needs, and why the backbone lacks it.
    """
    for need in method.asks:
        reason = backbone.lacks(need)
        if reason is not None:
            raise ConfigError(
                "this backbone cannot be used with this method",
                where=f"method {method.name}, backbone {backbone.name}",
                got=reason,
                expected=f"a backbone that takes {need}",
                hint="`cuecard methods` shows which methods work where",
            )


def is_late(backbone: Backbone, method: MethodConfig, spec: TaskSpec) -> bool:
    """Whether what differs from row to row is computed without the prompt: it can be remembered.

    That is a causal model's prompt behind the input that leaves the input as it is, or one of an
    encoder-decoder's decoder alone.
    """
    if not backbone.causal:
        return set(method.asks) == {"decoder-tokens"}
    behind = method.slot == "suffix" or (method.slot == "infix" and spec.parsed.prompt_is_late)
    return behind and "token-shifts" not in method.needs


def check_slot(method: MethodConfig, spec: TaskSpec) -> None:
    """Refuse a template and a method that do not agree on where the prompt stands.

    Raises:
        ConfigError: `{prompt}` without the slot "infix", or the other way round, or `{prompt:5}`
            with another length.
    """
    if spec.parsed.has_prompt is not (method.slot == "infix"):
        raise ConfigError(
            "the template and the method do not agree on where the prompt stands",
            where=f"method {method.name}, slot",
            got=f"slot {method.slot} and the template {spec.template!r}",
            expected="slot infix with {prompt} in the template, or neither",
        )
    dealt, length = sum(spec.parsed.deal), getattr(method, "length", None)
    if dealt and length not in (None, dealt):
        raise ConfigError(
            "the template deals another number of vectors than the method has",
            where=f"method {method.name}, length",
            got=length,
            expected=f"{dealt}, as the template {spec.template!r} deals",
        )


def check_reads(backbone: Backbone, method: MethodConfig, spec: TaskSpec) -> None:
    """Refuse a task that reads a state per token where those states do not know of the prompt.

    Raises:
        ConfigError: an encoder-decoder, which has no such states to read, or a prompt that stands
            behind the text.
    """
    if not spec.read_field:
        return
    if backbone.lacks("decoder-tokens") is None:
        raise ConfigError(
            f"the kind {spec.kind} reads a state per token, which an encoder-decoder does not give",
            where=f"backbone {backbone.name}",
            got="an encoder-decoder",
            expected="a causal or masked language model",
        )
    if method.slot != "prefix":
        raise ConfigError(
            f"the kind {spec.kind} reads the text's own tokens, which know of a prompt before them",
            where=f"method {method.name}, slot",
            got=method.slot,
            expected="prefix",
        )
