"""A small labelled data set that a tiny backbone can learn."""

from __future__ import annotations

from cuecard.tasks import Task, TaskSpec
from cuecard.testing.rows import BAD, GOOD, SPEC, review_task, reviews
from cuecard.types import Record

__all__ = [
    "BAD",
    "GOOD",
    "LONG_SPEC",
    "MASKED_SPEC",
    "SPEC",
    "TEXT_SPEC",
    "review_task",
    "reviews",
    "title_task",
]

MASKED_SPEC = SPEC.model_copy(update={"template": "Review: {text}\nSentiment: {mask}."})
LONG_SPEC = SPEC.model_copy(update={"words": {"negative": "terrible", "positive": "great fun"}})
TEXT_SPEC = TaskSpec(
    kind="text-to-text", template="Text: {text}\nTitle:", target_field="title", max_new_tokens=4
)


def title_task(count: int = 60) -> Task:
    """A text-to-text task: repeat the first word."""
    records = [
        Record(r.fields, r.fields["text"].split()[0], r.source, r.row) for r in reviews(count)
    ]
    return Task.from_records(TEXT_SPEC, records, split=(0.6, 0.2, 0.2))
