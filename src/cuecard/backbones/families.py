"""The families of backbones by name: what each takes of a method, and what a task reads of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cuecard.types import InjectionKind, ReadKind, Tower


@dataclass(frozen=True, slots=True)
class Family:
    """What the models of a family have in common; one of them may support less.

    Attributes:
        about: such a model, in words.
        takes: the kinds of injections that each tower takes.
        reads: what can be read.
        main: the tower that reads a task's rows, which methods call "text".
    """

    about: str
    takes: Mapping[Tower, frozenset[InjectionKind]]
    reads: frozenset[ReadKind]
    main: Tower = "text"

    def unsupported(self, kind: InjectionKind, tower: Tower = "text") -> str | None:
        """Why no model of the family takes a kind of injection; None if they do."""
        if kind in self.takes.get(self.main if tower == "text" else tower, ()):
            return None
        return f"{self.about} does not take {in_tower(kind, tower)}"


def in_tower(kind: InjectionKind, tower: Tower) -> str:
    """A kind of injection into a tower, in words."""
    return kind if tower == "text" or kind == "label-tokens" else f"{kind} in the {tower}"


_ALL: frozenset[InjectionKind] = frozenset(
    {"input-tokens", "token-shifts", "mixed-tokens", "prefix-kv", "layer-tokens"}
)

_SEEN: frozenset[InjectionKind] = frozenset({"input-tokens", "prefix-kv", "layer-tokens"})

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "causal": Family(
            "a causal language model",
            {"text": _ALL | {"late-prefix-kv"}},
            frozenset({"next-tokens"}),
        ),
        "seq2seq": Family(
            "an encoder-decoder",
            {
                "text": frozenset({"input-tokens", "token-shifts", "mixed-tokens"}),
                "decoder": frozenset({"input-tokens"}),
            },
            frozenset({"next-tokens"}),
        ),
        "masked": Family("a masked language model", {"text": _ALL}, frozenset({"masks", "states"})),
        "vision": Family(
            "a vision encoder",
            {"vision": _SEEN},
            frozenset({"states"}),
            main="vision",
        ),
        "two-tower": Family(
            "a model of images and texts",
            {"vision": _SEEN, "labels": frozenset({"label-tokens"})},
            frozenset({"states"}),
            main="vision",
        ),
        "segmentation": Family(
            "a segmentation model",
            {"mask-decoder": frozenset({"input-tokens"})},
            frozenset({"pixels"}),
            main="mask-decoder",
        ),
    }
)
