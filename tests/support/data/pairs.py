"""A small set of pairs of texts that a tiny encoder can learn to match."""

from __future__ import annotations

import random

from cuecard.tasks import Task, TaskSpec
from cuecard.types import Record

SPEC = TaskSpec(kind="embedding", template="{text}", target_field="positive", max_length=64)
WORDS = ("good", "fine", "nice", "warm", "bad", "awful", "poor", "cold", "fox", "dog")


def pairs(count: int = 60, seed: int = 0) -> list[Record]:
    """Two words and a number, and the same words the other way round and in other company."""
    rng = random.Random(seed)
    records = []
    for number in range(count):
        first, second = rng.sample(WORDS, 2)
        text, other = f"{first} {second} {number}", f"it is {second} and {first} {number} for one"
        records.append(Record({"text": text}, other, "pairs.csv", number + 2))
    return records


def pair_task(count: int = 60) -> Task:
    """A task with all three splits."""
    return Task.from_records(SPEC, pairs(count), split=(0.5, 0.25, 0.25))
