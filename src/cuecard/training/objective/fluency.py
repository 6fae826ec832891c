"""A constraint that keeps what is trained from forgetting language (DART).

Zhang et al., "Differentiable Prompt Makes Pre-trained Language Models Better Few-shot Learners"
(ICLR 2022, arXiv:2108.13161), section 3.3: words of the input are hidden at random, and beside its
label the model is to say them, so that the trained template stays one that language can follow.
Here a masked model says words that are masked, as there; a causal one says them after what comes
before them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.tasks import TaskSpec, collate
from cuecard.tasks.encoding.batching import inside_of
from cuecard.tasks.encoding.tokens import mask_of
from cuecard.types import Backbone, Encoded, Injection, ReadKind, Slot, Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

# BERT's share of hidden words.
_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class FluencyTerm:
    """The constraint on a batch.

    Attributes:
        weight: of the hidden words' mean loss beside that of a target.
        draw: what decides which words are hidden.
    """

    weight: float
    draw: tuple[int, ...]

    @classmethod
    def of(cls, weight: float, draw: tuple[int, ...]) -> FluencyTerm | None:
        """None where the weight is 0."""
        return cls(weight, draw) if weight else None


@dataclass(frozen=True, slots=True)
class FluentRows:
    """A batch of one prompt, and the constraint on it."""

    rows: Sequence[Encoded]
    injection: Injection
    fluency: FluencyTerm


def check_fluency(backbone: Backbone, spec: TaskSpec, slot: Slot, weight: float) -> None:
    """
    Raises:
        ConfigError: a model that says no words of its input, or a prompt that these come before.
    """
    if not weight:
        return
    kind = _read_of(backbone)
    reason = None if kind is None else backbone.unreadable(kind)
    if kind is None or reason is not None or spec.task_kind.tower != "text":
        raise ConfigError(
            "this model does not say the words of its input",
            where="training.fluency",
            got=reason or f"{backbone.name}, kind {spec.kind}",
            expected="a causal or a masked language model and a task of texts",
            hint="leave --fluency out",
        )
    if backbone.causal and slot == "suffix":
        raise ConfigError(
            "the prompt comes after the words that it is to leave sayable",
            where="training.fluency",
            got="slot suffix",
            expected="the slot prefix, or infix before the text",
        )


def fluency_losses(backbone: Backbone, parts: Sequence[FluentRows]) -> list[Tensor]:
    """Each part's weighted mean of -log p of its hidden words, in one forward pass."""
    hidden = [_hidden(backbone, part) for part in parts]
    asked = [number for number, (rows, _) in enumerate(hidden) if rows]
    inside = inside_of(backbone)
    pairs = [
        (
            collate([(row, ()) for row in hidden[n][0]], read="states", inside=inside),
            parts[n].injection,
        )
        for n in asked
    ]
    losses = [torch.zeros((), device=backbone.device) for _ in parts]
    found = backbone.read_many(pairs, keep="logits") if pairs else ()
    for number, reads in zip(asked, found, strict=True):
        words = torch.tensor(hidden[number][1])
        losses[number] = parts[number].fluency.weight * reads.nll(words).mean()
    return losses


def _hidden(backbone: Backbone, part: FluentRows) -> tuple[list[Encoded], list[int]]:
    """Rows that are read at hidden words, and the words; rows that have none are left out."""
    drawn = random.Random(repr(part.fluency.draw))
    masked, tokenizer = _read_of(backbone) == "masks", backbone.tokenizer
    rows: list[Encoded] = []
    words: list[int] = []
    for row in part.rows:
        places = _places(row, tokenizer, masked=masked)
        if not places:
            continue
        some = sorted(drawn.sample(places, max(1, round(_SHARE * len(places)))))
        words += [row.context[place] for place in some]
        if masked:
            context = list(row.context)
            for place in some:
                context[place] = mask_of(tokenizer)[1]
            rows.append(replace(row, context=tuple(context), at=tuple(some)))
        else:
            rows.append(replace(row, at=tuple(place - 1 for place in some)))
    return rows, words


def _places(row: Encoded, tokenizer: Tokenizer, *, masked: bool) -> list[int]:
    """Where words may be hidden: no special tokens, and none that a causal prompt comes after."""
    special = {int(token) for token in getattr(tokenizer, "all_special_ids", ())}
    first = 0 if masked else row.slot + 1
    return [n for n in range(first, len(row.context)) if row.context[n] not in special]


def _read_of(backbone: Backbone) -> ReadKind | None:
    """How it says words of its input; None for one that does not."""
    if "decoder" in backbone.takes:
        return None
    kinds: tuple[ReadKind, ...] = ("masks", "next-tokens")
    return next((kind for kind in kinds if kind in backbone.reads), None)
