"""Inputs that a teacher answers once: its answers are kept as they come, and become a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cuecard.errors import DataError
from cuecard.evaluation.loglikelihood import OnRows
from cuecard.interrupts import may_cut
from cuecard.tasks import Task, TaskSpec, ordered_batches
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.distilling.kept_lines import KeptLines
from cuecard.training.objective.top_tokens import TopTokens, top_tokens
from cuecard.training.storage.log import RunLog
from cuecard.types import Backbone, Encoded, Injection, Prediction, Record

Ask = Callable[[Sequence[Record], OnRows | None], list[Prediction]]
"""Answers records that have no targets."""

SPLIT_SEED = 1
"""Of the split of answered inputs. By the seed of labelled data's splits, 0, rows of one of their
parts would all fall into one part again."""

_AT_ONCE = 64  # inputs between two writes of the file
_ROWS = 8  # whose answers' tokens are read together


def known_answers(kept: KeptLines) -> list[Prediction]:
    """The answers that a folder has, of the first inputs."""
    return [
        Prediction(index, line["answer"], line["scores"], line["probabilities"])
        for index, line in enumerate(kept.load())
    ]


def answer_once(
    inputs: Sequence[Record], ask: Ask, kept: KeptLines, log: RunLog, what: str
) -> list[Prediction]:
    """The answer to each input; what a folder has of them is not asked again.

    Args:
        what: what is done, for the count of rows.

    Raises:
        Stop: Ctrl-C; the answers so far are kept.
    """
    known = known_answers(kept)
    count = log.count(what, len(inputs))
    if count is not None and known:
        count(len(known))
    while len(known) < len(inputs):
        some = inputs[len(known) : len(known) + _AT_ONCE]
        with may_cut():
            known += ask([replace(record, target=None) for record in some], count)
        pairs = zip(inputs, known, strict=False)
        kept.save(_line(record, found) for record, found in pairs)
    return [replace(found, index=index) for index, found in enumerate(known)]


def _line(record: Record, found: Prediction) -> dict[str, Any]:
    """An input and its answer, as they are kept."""
    return {
        "fields": record.texts,
        "answer": found.answer,
        "scores": found.scores,
        "probabilities": dict(found.probabilities),
    }


def likeliest_tokens(
    backbone: Backbone, rows: Sequence[Encoded], injection: Injection | None, top: int
) -> list[TopTokens]:
    """`top_tokens` of any number of rows.

    Raises:
        Stop: Ctrl-C.
    """
    found: dict[int, TopTokens] = {}
    for batch in ordered_batches(row_lengths(rows), _ROWS):
        with may_cut():
            some = top_tokens(backbone, [rows[index] for index in batch], injection, top)
        found.update(zip(batch, some, strict=True))
    return [found[index] for index in range(len(rows))]


def task_of(
    spec: TaskSpec, inputs: Sequence[Record], answers: Sequence[Prediction], who: str
) -> Task:
    """Inputs with a teacher's answers as their targets, split by their content.

    Inputs that it answers with nothing are left out.

    Args:
        who: what errors call the teacher.

    Raises:
        DataError: too few are left.
    """
    rows = [
        replace(record, target=found.answer)
        for record, found in zip(inputs, answers, strict=True)
        if found.answer
    ]
    if len(rows) < 2:
        raise DataError(
            f"there are too few inputs that {who} answers",
            where="inputs",
            got=f"{len(inputs)} inputs, of which {len(rows)} have an answer",
            expected="some ten or more; hundreds are better",
        )
    return Task.from_records(spec, rows, seed=SPLIT_SEED)


def answers_by_input(
    inputs: Sequence[Record], answers: Sequence[Prediction]
) -> Callable[[Sequence[Record]], list[Prediction]]:
    """A look-up of the answers to some of the inputs, whatever targets these have."""
    known = {key_of_input(record): found for record, found in zip(inputs, answers, strict=True)}
    return lambda records: [known[key_of_input(record)] for record in records]


def key_of_input(record: Record) -> tuple[tuple[str, str], ...]:
    """What tells inputs apart: their texts."""
    return tuple(record.texts.items())


def shares_of(spec: TaskSpec, answers: Sequence[Prediction]) -> list[list[float]]:
    """The labels' probabilities of each answer, in the labels' order."""
    return [[each.probabilities[label] for label in spec.labels] for each in answers]
