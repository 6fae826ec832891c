"""A pattern's words, and the task asked in them; what is refused: `test_pet.py`."""

from __future__ import annotations

from cuecard.training.few_shot.patterns import with_template, words_of
from support.data.reviews import SPEC


def test_a_patterns_words() -> None:
    assert words_of("Review: {text}\nIt was {mask}.{prompt}") == "Review: text\nIt was ."


def test_a_task_in_other_words() -> None:
    asked = with_template(SPEC, "{text}\nIt was")
    assert asked.template == "{text}\nIt was" and asked.words == SPEC.words
