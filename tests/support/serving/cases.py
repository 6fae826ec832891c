"""Questions whose answers tell which prompt gave them, with the answers got alone.

Every question is asked under many prompts. A case is kept only if no other prompt's answer to the
same question is like it, and if rounding cannot change it; so whoever gets another answer than the
case's has met another prompt, or arithmetic that is not rounding.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cuecard.engine.protocol import Generation, Grammar, Held, Sampling, Scoring
from cuecard.evaluation.predict import predict
from cuecard.tasks import TaskSpec
from cuecard.tasks.encoding.batching import collate
from cuecard.types import (
    Backbone,
    Encoded,
    Injection,
    InputTokens,
    Placement,
    PrefixKV,
    PromptMix,
    Record,
    Slot,
)

TEMPLATES: Mapping[Slot, str] = {
    "prefix": "Review: {text}\nSentiment:",
    "suffix": "Review: {text}\nSentiment:",
    "infix": "Review: {text}\n{prompt} Sentiment:",
}
LABELS = ("bad", "good", "great fun", "great pity")
NEW_TOKENS = 12
# Lengths on both sides of blocks of 16 and 32.
LENGTHS = (1, 5, 16, 20, 31, 32, 40)
QUESTIONS = (
    "warm and funny and true",
    "a gob of drivel",
    "the quick brown fox jumps over the lazy dog , good for one and bad for none",
    "it is good",
    "one of the best films of the year , so sickly sweet that even the eager consumers will gag",
)


@dataclass(frozen=True, slots=True)
class Case:
    """A question under a prompt, and what comes of it alone.

    Attributes:
        words: the labels' token ids.
        scores: what `cuecard.evaluation.predict` gives each of them.
        answer: the backbone's own greedy tokens.
        margin: by how much the second best token is less likely, where that is least.
    """

    prompt: Held | None
    row: Encoded
    words: tuple[tuple[int, ...], ...]
    scores: tuple[float, ...]
    answer: tuple[int, ...]
    margin: float

    @property
    def key(self) -> tuple[int, ...]:
        """The question, whatever the prompt's place in it."""
        return self.row.context

    @property
    def digest(self) -> str | None:
        """The prompt's."""
        return None if self.prompt is None else self.prompt.digest

    def scoring(self) -> Scoring:
        """As a row to score."""
        return Scoring(self.prompt, self.row, self.words)

    def generation(self, sampling: Sampling | None = None) -> Generation:
        """As a text to go on with."""
        sampling = sampling or Sampling(NEW_TOKENS)
        return Generation(self.prompt, self.row.context, self.row.slot, sampling)


def make_cases(
    backbone: Backbone,
    *,
    prompts: int = 21,
    least_margin: float = 1e-2,
    prefix_kv: bool = False,
    seed: int = 0,
) -> list[Case]:
    """Cases under that many prompts of all slots and lengths, and under none.

    Args:
        least_margin: what rounding cannot turn round, in log-probability.
        prefix_kv: prompts of keys and values too, one in four, every other one of them late; and
            one in five that depends on the question.
    """
    generator = torch.Generator().manual_seed(seed)
    cases = _under(backbone, None, "prefix")
    for number in range(prompts):
        slot: Slot = ("prefix", "suffix", "infix")[number % 3]  # type: ignore[assignment]
        length = LENGTHS[number % len(LENGTHS)]
        if prefix_kv and number % 4 == 3:
            slot = "infix" if number % 8 == 3 else "prefix"
            injection = _some_keys_values(backbone, length, generator, late=slot == "infix")
        else:
            mix = None
            if prefix_kv and number % 5 == 0:
                mix = some_mix(backbone, length, generator)
            injection = InputTokens(some_vectors(backbone, length, generator), mix=mix)
        digest = hashlib.sha256(f"{seed} {number}".encode()).hexdigest()
        cases += _under(backbone, Held(digest, injection), slot)
    return _telling(cases, least_margin)


def lasting_text(backbone: Backbone, tokens: int) -> str:
    """A question that the bare backbone goes on about for so many tokens."""
    for text in QUESTIONS:
        context = tuple(backbone.tokenizer(text)["input_ids"])
        if len(backbone.generate([context], [Placement()], None, tokens)[0]) == tokens:
            return text
    raise AssertionError("every answer ends before")


def some_vectors(backbone: Backbone, length: int, generator: torch.Generator) -> Tensor:
    """[length, H] words of the vocabulary, twice as large, so that they are heard."""
    rows = torch.randint(len(backbone.embeddings), (length,), generator=generator)
    return backbone.embeddings[rows].float().cpu() * 2


def some_mix(backbone: Backbone, length: int, generator: torch.Generator) -> PromptMix:
    """Source prompts that other questions pay other attention to."""
    width = backbone.hidden_size
    sources = torch.stack([some_vectors(backbone, length, generator) for _ in range(3)])
    down, up = (torch.randn(*size, generator=generator) for size in ((8, width), (width, 8)))
    return PromptMix(sources, down, up, torch.ones(width), torch.zeros(width), 0.2)


def _some_keys_values(
    backbone: Backbone, length: int, generator: torch.Generator, *, late: bool
) -> Injection:
    found = backbone.states(some_vectors(backbone, length, generator)).keys_values
    assert found is not None
    return PrefixKV(found.float().cpu(), late)


def _under(backbone: Backbone, prompt: Held | None, slot: Slot) -> list[Case]:
    spec = TaskSpec(
        kind="classification",
        template=TEMPLATES[slot],
        labels=LABELS,
    )
    records = [Record({"text": text}, None) for text in QUESTIONS]
    rows = [spec.encode(record, backbone.tokenizer, slot) for record in records]
    words = tuple(tuple(word) for word in spec.continuations(backbone.tokenizer))
    injection = None if prompt is None else prompt.injection
    found = predict(backbone, spec, records, injection, slot=slot)
    cases = []
    for row, prediction in zip(rows, found, strict=True):
        (answer,) = backbone.generate([row.context], [row.placement], injection, NEW_TOKENS)
        ended = [] if len(answer) == NEW_TOKENS else [int(backbone.tokenizer.eos_token_id)]
        margin = margin_of(backbone, row, injection, [*answer, *ended])
        scores = tuple(prediction.scores[label] for label in LABELS)
        cases.append(Case(prompt, row, words, scores, tuple(answer), margin))
    return cases


@torch.inference_mode()
def margin_of(
    backbone: Backbone, row: Encoded, injection: Injection | None, answer: Sequence[int]
) -> float:
    """By how much the second best token of an answer is less likely, where that is least."""
    logits = backbone.forward(collate([(row, answer)]), injection)
    best, second = logits.topk(2).values.unbind(-1)
    return float((best - second).min())


@torch.inference_mode()
def gap_at_departure(backbone: Backbone, case: Case, tokens: Sequence[int]) -> float:
    """[nats] between the first other token of an answer and the case's own there."""
    end = int(backbone.tokenizer.eos_token_id)
    own, other = ([*ids, *[end] * (NEW_TOKENS - len(ids))] for ids in (case.answer, tokens))
    at = next(place for place in range(NEW_TOKENS) if own[place] != other[place])
    injection = None if case.prompt is None else case.prompt.injection
    logits = backbone.forward(collate([(case.row, own[: at + 1])]), injection)[-1].float()
    return abs(float(logits[own[at]] - logits[other[at]]))


@torch.inference_mode()
def constrained_answer(
    backbone: Backbone, case: Case, grammar: Grammar, most: int
) -> tuple[int, ...]:
    """The likeliest tokens that a grammar allows, one at a time, until nothing may follow."""
    end = int(backbone.tokenizer.eos_token_id)
    injection = None if case.prompt is None else case.prompt.injection
    guide, answer = grammar.guide(), list[int]()
    while len(answer) < most and not guide.finished:
        # The target's last token is only there to be read in front of.
        logits = backbone.forward(collate([(case.row, [*answer, 0])]), injection)[-1].float()
        allowed = guide.allowed(len(logits))
        allowed[end] = guide.accepting
        token = int(logits.masked_fill(~allowed, -torch.inf).argmax())
        if token == end:
            break
        answer.append(token)
        guide.accept(token)
    return tuple(answer)


def _telling(cases: Sequence[Case], least_margin: float) -> list[Case]:
    """Those that only their prompt explains, by their text and by their scores."""
    by_question: dict[tuple[int, ...], list[Case]] = defaultdict(list)
    for case in cases:
        by_question[case.key].append(case)
    return [
        case
        for case in cases
        if case.margin >= least_margin
        and not any(_alike(case, other) for other in by_question[case.key] if other is not case)
    ]


def _alike(one: Case, other: Case) -> bool:
    near = max(abs(a - b) for a, b in zip(one.scores, other.scores, strict=True)) < 1e-2
    return near or one.answer == other.answer
