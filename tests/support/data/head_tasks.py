"""Small tasks with a trained head that a tiny backbone can learn."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from cuecard.tasks import Task, TaskSpec
from cuecard.types import Record
from support.data.reviews import SPEC, reviews

HEAD_SPEC = SPEC.model_copy(update={"head": "trained"})
SEVERAL = TaskSpec(kind="multi-label", template="{text}\nLabels:", labels=("dog", "fox", "fun"))
NUMBER = TaskSpec(kind="regression", template="{text}\nScore:")
CHOICE = TaskSpec(kind="multiple-choice", template="{question}\nAnswer:")
TAGS = TaskSpec(kind="tagging", template="{tokens}", labels=("O", "B-PER", "I-PER", "B-LOC"))
ANSWER = TaskSpec(
    kind="extractive-qa", template="Question: {question}\nContext: {context}\nAnswer:"
)
_FILL = ("the", "good", "bad", "over", "for", "one", "not", "and")


def split(spec: TaskSpec, records: Sequence[Record]) -> Task:
    return Task.from_records(spec, records, split=(0.6, 0.2, 0.2))


def head_task(count: int = 160) -> Task:
    return split(HEAD_SPEC, reviews(count))


def several_task(count: int = 200) -> Task:
    """A label holds where its word stands in the text."""
    rng = random.Random(0)
    records = []
    for number in range(count):
        held = [label for label in SEVERAL.labels if rng.random() < 0.4]
        words = [*held, *rng.choices(_FILL, k=2)]
        rng.shuffle(words)
        text = f"{' '.join(words)} {number}"
        records.append(Record({"text": text}, ",".join(held), "labels.csv", number + 2))
    return split(SEVERAL, records)


def number_task(count: int = 200) -> Task:
    """How many of five words are good, times 100."""
    rng = random.Random(1)
    records = []
    for number in range(count):
        good = rng.randint(0, 5)
        words = ["good"] * good + ["bad"] * (5 - good)
        text = f"{' '.join(words)} {number}"
        records.append(Record({"text": text}, repr(100.0 * good), "numbers.csv", number + 2))
    return split(NUMBER, records)


def choice_task(count: int = 120) -> Task:
    """The option that the question names, never the same place."""
    rng = random.Random(2)
    records = []
    for number in range(count):
        options = rng.sample(("great", "terrible", "warm", "true", "lazy"), 3)
        target = "great" if "great" in options else options[0]
        fields = {"question": f"which {number}", "options": tuple(options)}
        records.append(Record(fields, target, "choices.jsonl", number + 1))
    return split(CHOICE, records)


def tag_task(count: int = 120) -> Task:
    """Foxes and dogs are persons, films are places."""
    rng = random.Random(3)
    tags = {"fox": "B-PER", "dog": "B-PER", "films": "B-LOC"}
    records = []
    for number in range(count):
        words = [*rng.choices((*_FILL, *tags), k=rng.randint(3, 7)), str(number)]
        target = " ".join(tags.get(word, "O") for word in words)
        records.append(Record({"tokens": " ".join(words)}, target, "tags.conll", number + 1))
    return split(TAGS, records)


def answer_task(count: int = 120, words: int = 6) -> Task:
    """The only animal of the context."""
    rng = random.Random(4)
    records = []
    for number in range(count):
        animal = rng.choice(("fox", "dog"))
        filling = rng.choices(_FILL, k=words)
        filling.insert(rng.randrange(words), animal)
        context = f"{' '.join(filling)} {number}"
        target = json.dumps({"text": [animal], "answer_start": [context.index(animal)]})
        fields = {"question": "which one", "context": context}
        records.append(Record(fields, target, "answers.jsonl", number + 1))
    return split(ANSWER, records)
