"""Prompts in folders, each with answers that only it gives, as clients of a server see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

import cuecard
from cuecard.artifacts import Prompt
from cuecard.tasks import TaskSpec
from cuecard.types import Backbone, InputTokens, Record, Slot
from support.serving.cases import (
    LABELS,
    LENGTHS,
    NEW_TOKENS,
    QUESTIONS,
    TEMPLATES,
    margin_of,
    some_vectors,
)

Answer = TypeVar("Answer")
# What rounding cannot turn round, in log-probability.
_LEAST = 1e-2


@dataclass(frozen=True, slots=True)
class Known:
    """A prompt, and what it answers alone.

    Attributes:
        scores: text -> label -> log-probability, where the prompt labels.
        texts: text -> what is written, where it writes.
    """

    folder: Path
    digest: str
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def questions(self) -> list[str]:
        """Texts whose answer tells this prompt from all others."""
        return [*self.scores, *self.texts]

    def scored(self, text: str, scores: Mapping[str, float], tolerance: float) -> bool:
        """Whether these are its scores of a text."""
        own = self.scores.get(text, {})
        return scores.keys() == own.keys() and all(
            abs(scores[label] - own[label]) <= tolerance for label in own
        )

    def wrote(self, text: str, answer: str, *, whole: bool = True) -> bool:
        """Whether this is its answer to a text, or the beginning of it."""
        own = self.texts.get(text)
        return own is not None and (own == answer if whole else own.startswith(answer))


def make_pool(backbone: Backbone, folder: Path, count: int) -> list[Known]:
    """So many prompts, every other one labels; every one has something to tell it by."""
    generator = torch.Generator().manual_seed(0)
    made = [
        (_labelling if number % 2 == 0 else _writing)(backbone, folder, number, generator)
        for number in range(count)
    ]
    pool = [
        Known(
            known.folder,
            known.digest,
            _telling(known.scores, [k.scores for k in made if k is not known], _near),
            _telling(known.texts, [k.texts for k in made if k is not known], str.__eq__),
        )
        for known in made
    ]
    return [known for known in pool if known.questions]


def _labelling(backbone: Backbone, folder: Path, number: int, generator: torch.Generator) -> Known:
    slot: Slot = ("prefix", "suffix", "infix")[number % 3]  # type: ignore[assignment]
    spec = TaskSpec(kind="classification", template=TEMPLATES[slot], labels=LABELS)
    prompt = _prompt(backbone, spec, slot, number, generator)
    found = cuecard.answer(backbone, prompt, _records())
    scores = {text: dict(each.scores) for text, each in zip(QUESTIONS, found, strict=True)}
    return Known(prompt.save(folder / str(number)), prompt.digest, scores=scores)


def _writing(backbone: Backbone, folder: Path, number: int, generator: torch.Generator) -> Known:
    slot: Slot = ("prefix", "suffix", "infix")[number % 3]  # type: ignore[assignment]
    spec = TaskSpec(kind="text-to-text", template=TEMPLATES[slot], max_new_tokens=NEW_TOKENS)
    prompt = _prompt(backbone, spec, slot, number, generator)
    injection = prompt.injection()
    found = cuecard.answer(backbone, prompt, _records())
    texts = {}
    for record, each in zip(_records(), found, strict=True):
        row = spec.encode(record, backbone.tokenizer, slot)
        (tokens,) = backbone.generate([row.context], [row.placement], injection, NEW_TOKENS)
        ended = [] if len(tokens) == NEW_TOKENS else [int(backbone.tokenizer.eos_token_id)]
        if margin_of(backbone, row, injection, [*tokens, *ended]) >= _LEAST:
            texts[record.fields["text"]] = each.answer
    return Known(prompt.save(folder / str(number)), prompt.digest, texts=texts)


def _prompt(
    backbone: Backbone, spec: TaskSpec, slot: Slot, number: int, generator: torch.Generator
) -> Prompt:
    length = LENGTHS[number % len(LENGTHS)]
    return Prompt.create(
        InputTokens(some_vectors(backbone, length, generator)),
        backbone=backbone,
        spec=spec,
        method="prompt-tuning",
        method_config={"length": length},
        slot=slot,
        seed=number,
    )


def _records() -> list[Record]:
    return [Record({"text": text}, None) for text in QUESTIONS]


def _telling(
    own: Mapping[str, Answer],
    others: Sequence[Mapping[str, Answer]],
    alike: Callable[[Answer, Answer], bool],
) -> dict[str, Answer]:
    """Answers that nobody else gives to the same text."""
    return {
        text: answer
        for text, answer in own.items()
        if not any(text in other and alike(answer, other[text]) for other in others)
    }


def _near(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return max(abs(one[label] - other[label]) for label in one) < _LEAST
