"""The ways that were measured, and how each is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cuecard.backbones.families import FAMILIES
from cuecard.methods.names import METHODS


@dataclass(frozen=True)
class Way:
    """A way to do a task.

    Attributes:
        about: what it is.
        command: what is typed, with {data} and {budget}.
    """

    about: str
    command: str


_TRAIN = "cuecard train {data} --method {method}"
WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "auto": Way("methods and rates race", "cuecard train {data} --budget {budget}"),
        "lora": Way("a LoRA adapter", "cuecard lora {data}"),
        "linear": Way(
            "a linear model, of TF-IDF or of images as the encoder sees them; every run's report "
            "has it",
            "cuecard train {data} --budget {budget}",
        ),
        "search": Way("words are searched for, nothing is trained", "cuecard search {data}"),
        "by hand": Way(
            "the best of some hand-written prompts, demonstrations among them; every run's report "
            "has it",
            "cuecard train {data} --budget {budget}",
        ),
        **{
            name: Way(method.about, _TRAIN.replace("{method}", name))
            for name, method in METHODS.items()
        },
    }
)

BY_CONTESTANT: Mapping[str, str] = MappingProxyType(
    {
        "tfidf": "linear",
        "embedding-lr": "linear",
        "zero-shot": "by hand",
        "in-context": "by hand",
        **{name: name for name in ("search", "auto", *METHODS, "lora")},
    }
)
"""A contestant of `cuecard compare` -> the way that it is taken for; others are none."""


def fits(way: str, family: str | None) -> bool:
    """Whether a way can be taken on a family of backbones; of an unknown one it is hoped."""
    if way not in METHODS or family is None:
        return True
    needs = METHODS[way]().requires
    return all(
        FAMILIES[family].unsupported(kind, tower) is None
        for tower, kinds in needs.items()
        for kind in kinds
    )
