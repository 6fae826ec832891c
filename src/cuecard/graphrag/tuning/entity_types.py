"""Types of entities that several answers name: counted, and each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cuecard.graphrag.tuning.reading import cleaned_type

_ES = ("ches", "shes", "sses", "xes", "zes")
_SINGULAR = ("ss", "us", "is", "news", "series", "species")


@dataclass(frozen=True, slots=True)
class TypeCount:
    """A type of entities.

    Attributes:
        given: whether the user named it.
        answers: that named it.
        entities: of the examples that have it.
    """

    name: str
    given: bool
    answers: int
    entities: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return asdict(self)


def merged_types(
    given: Sequence[str], found: Sequence[Sequence[str]], most: int
) -> tuple[TypeCount, ...]:
    """Types each once, whatever their case and number: the given ones, then the most frequent.

    Args:
        found: what each answer named, the most important first.
        most: types in all; given ones are never left out.
    """
    names: dict[str, str] = {}
    for each in given:
        names.setdefault(singular(cleaned_type(each)) or each.strip(), each.strip())
    own = set(names)
    answers: dict[str, int] = {}
    ranks: dict[str, int] = {}
    for answer in found:
        for rank, key in enumerate(dict.fromkeys(map(singular, answer))):
            answers[key] = answers.get(key, 0) + 1
            ranks[key] = ranks.get(key, 0) + rank
    others = sorted(
        (key for key in answers if key not in own),
        key=lambda key: (-answers[key], ranks[key] / answers[key]),
    )
    kept = [*names, *others[: max(0, most - len(own))]]
    return tuple(TypeCount(names.get(key, key), key in own, answers.get(key, 0)) for key in kept)


def singular(name: str) -> str:
    """A type's name in the singular, for English names that are formed by the rule."""
    if name.endswith(_SINGULAR) or len(name) < 4:
        return name
    if name.endswith("ies") and len(name) > 4:
        return f"{name[:-3]}y"
    if name.endswith(_ES):
        return name[:-2]
    return name.removesuffix("s")
