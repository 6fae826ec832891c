"""A small labelled data set that a tiny backbone can learn."""

from __future__ import annotations

import random

from cuecard.tasks import Task, TaskSpec
from cuecard.types import Record

GOOD, BAD = ("good", "fine", "nice", "warm"), ("bad", "awful", "poor", "cold")
SPEC = TaskSpec(
    kind="classification",
    template="Review: {text}\nSentiment:",
    labels=("negative", "positive"),
    words={"negative": "bad", "positive": "good"},
)


def reviews(count: int = 120, seed: int = 0) -> list[Record]:
    """Reviews of two to seven words, as many good as bad, no two the same."""
    rng = random.Random(seed)
    records = []
    for number in range(count):
        good = number % 2 == 1
        words = rng.choices(GOOD if good else BAD, k=rng.randint(2, 7))
        target = "positive" if good else "negative"
        text = f"{' '.join(words)} {number}"
        records.append(Record({"text": text}, target, "reviews.csv", number + 2))
    return records


def review_task(count: int = 120, spec: TaskSpec = SPEC) -> Task:
    """A task with all three splits."""
    return Task.from_records(spec, reviews(count), split=(0.6, 0.2, 0.2))
