"""Entities of BIO tags, against seqeval and against cases worked out by hand."""

from __future__ import annotations

import random
import warnings

import pytest
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from cuecard.evaluation.evaluate import score_predictions
from cuecard.metrics.entities import entities
from cuecard.tasks import TaskSpec
from cuecard.types import Prediction, Record

TAGS = ("O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-LOC", "E-LOC", "S-LOC")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-PER I-PER O B-LOC", {("PER", 0, 1), ("LOC", 3, 3)}),
        ("B-PER B-PER", {("PER", 0, 0), ("PER", 1, 1)}),
        ("I-PER I-PER O", {("PER", 0, 1)}),
        ("B-PER I-LOC", {("PER", 0, 0), ("LOC", 1, 1)}),
        ("S-PER I-PER", {("PER", 0, 0), ("PER", 1, 1)}),
        ("B-PER E-PER I-PER", {("PER", 0, 1), ("PER", 2, 2)}),
        ("O O", set()),
        ("B-a-b I-a-b", {("a-b", 0, 1)}),
    ],
)
def test_cases_by_hand(tags: str, expected: set[tuple[str, int, int]]) -> None:
    assert entities(tags.split(" ")) == expected


@pytest.mark.parametrize("seed", range(40))
def test_any_tags_as_seqeval_reads_them(seed: int) -> None:
    rng = random.Random(seed)
    tags = rng.choices(TAGS, k=rng.randint(1, 30))
    assert entities(tags) == set(get_entities(tags))


def test_scores_are_seqevals() -> None:
    rng = random.Random(0)
    spec = TaskSpec(kind="tagging", template="{tokens}", labels=TAGS)
    records, predictions, gold, given = [], [], [], []
    for number in range(60):
        true = rng.choices(TAGS, k=rng.randint(2, 12))
        said = [tag if rng.random() < 0.8 else rng.choice(TAGS) for tag in true]
        words = " ".join(f"w{place}" for place in range(len(true)))
        records.append(Record({"tokens": words}, " ".join(true)))
        predictions.append(Prediction(number, " ".join(said), {}, {}))
        gold.append(true)
        given.append(said)
    found = score_predictions(spec, records, predictions, resamples=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = f1_score(gold, given), precision_score(gold, given), recall_score(gold, given)
    ours = tuple(found.metrics[name] for name in ("span_f1", "precision", "recall"))
    assert ours == pytest.approx(oracle, abs=1e-12)
    assert found.ci95["span_f1"].low < found.score < found.ci95["span_f1"].high
