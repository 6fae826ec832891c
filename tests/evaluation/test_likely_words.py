"""A long list of labels: what cannot matter is left out, and nothing else changes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from cuecard.evaluation.likely_words import _Search, _Starts, is_long
from cuecard.evaluation.predict import NEGLIGIBLE, predict
from cuecard.tasks import TaskSpec
from cuecard.types import InputTokens, Record
from support.tiny import tiny_backbone

TEXTS = ["one of the best films of the year", "a gob of drivel", "x", "warm and funny and true"]
RECORDS = [Record({"text": text}, None) for text in TEXTS]
PARTS = ("good", "bad", "one", "for", "none", "best")
LABELS = tuple(f"{a} {b} {c} one" for a in PARTS for b in PARTS for c in PARTS)
SPEC = TaskSpec(
    kind="classification", template="the quick brown fox: {text} :", labels=(*LABELS, "good bad")
)


@pytest.fixture(scope="module")
def backbone() -> Any:
    found = tiny_backbone()
    # Larger numbers in the last layer's output: likelier tokens, and others that do not matter.
    with torch.no_grad():
        found.model.model.norm.weight.mul_(12)
    return found


def run(backbone: Any, prior: dict[str, float] | None = None, **more: Any) -> Any:
    vectors = torch.randn(3, 32, generator=torch.Generator().manual_seed(0)) * 0.5
    return predict(backbone, SPEC, RECORDS, InputTokens(vectors), prior=prior, **more)


@pytest.mark.parametrize("lean", [0.0, 8.0])
def test_answers_and_probabilities_are_those_of_all_labels(backbone: Any, lean: float) -> None:
    rng = random.Random(0)
    prior = {label: rng.uniform(-lean, lean) for label in SPEC.labels} if lean else None
    assert is_long(SPEC.label_words(backbone.tokenizer).asked)
    whole, likely = run(backbone, prior), run(backbone, prior, negligible=NEGLIGIBLE)
    assert whole != likely
    for one, other in zip(whole, likely, strict=True):
        assert one.answer == other.answer
        for label in SPEC.labels:
            assert other.probabilities[label] == pytest.approx(
                one.probabilities[label], abs=2 * NEGLIGIBLE
            )
        exact = [label for label in SPEC.labels if one.probabilities[label] > 0.01]
        assert exact
        for label in exact:
            assert other.scores[label] == pytest.approx(one.scores[label], abs=1e-3)


def test_every_pass_is_told_and_every_record_once(backbone: Any) -> None:
    told: list[int] = []
    run(backbone, negligible=NEGLIGIBLE, on_rows=told.append)
    assert sum(told) == len(RECORDS) and len(told) > 3


def searched(words: Sequence[tuple[int, ...]], share: float, seed: int) -> tuple[Any, Any, int]:
    """A search where every token of a random tree has a known probability."""
    rng = random.Random(seed)
    logs: dict[tuple[int, ...], float] = {}

    def log_p(word: tuple[int, ...]) -> float:
        for end in range(1, len(word) + 1):
            logs.setdefault(word[:end], math.log(rng.random() ** 4))
        return sum(logs[word[:end]] for end in range(1, len(word) + 1))

    exact = [log_p(word) for word in words]
    search = _Search(_Starts.of(words, [0.0] * len(words)), share)
    rounds = 0
    while not search.is_over():
        asked = search.next_words()
        search.take(asked, [log_p(word) for word in asked])
        rounds += 1
    return exact, search.scores(words), rounds


@pytest.mark.parametrize("seed", range(20))
def test_what_is_left_out_has_little_and_the_rest_is_exact(seed: int) -> None:
    rng = random.Random(seed)
    words = list({tuple(rng.choices(range(6), k=rng.randint(1, 4))) for _ in range(150)})
    exact, found, rounds = searched(words, 1e-3, seed)
    off = [n for n, (a, b) in enumerate(zip(exact, found, strict=True)) if not math.isclose(a, b)]
    ends = _Starts.of(words, [0.0] * len(words)).ends
    total = sum(math.exp(exact[n]) for n, word in enumerate(words) if word in ends)
    assert sum(math.exp(found[n]) for n in off) <= 1e-3 * total * 1.01
    assert sum(math.exp(exact[n]) for n in off if words[n] in ends) <= 1e-3 * total * 1.01
    assert max(exact) == max(found) and rounds < 20


def test_sure_answers_open_little() -> None:
    """150 labels of four tokens, of which the right one has nine tenths at every step."""
    words = [(a, b, c, 0) for a in range(5) for b in range(6) for c in range(5)]
    search = _Search(_Starts.of(words, [0.0] * len(words)), 0.01)
    opened = set()
    while not search.is_over():
        asked = search.next_words()
        opened |= {word[:end] for word in asked for end in range(len(word))}
        logs = [sum(math.log(0.96 if t == 0 else 0.005) for t in word) for word in asked]
        search.take(asked, logs)
    every = {word[:end] for word in words for end in range(len(word))}
    assert len(opened) < len(every) / 3


def test_without_a_share_everything_is_opened() -> None:
    words = [(a, b, c) for a in range(4) for b in range(4) for c in range(3)]
    exact, found, _ = searched(words, 0.0, 1)
    assert found == pytest.approx(exact)
