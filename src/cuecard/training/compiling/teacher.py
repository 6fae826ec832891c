"""What the backbone answers with the whole text in front: once for every input, and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.errors import DataError
from cuecard.evaluation.predict import predict
from cuecard.interrupts import may_cut
from cuecard.tasks import Task, ordered_batches
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.compiling.full_text import FullText
from cuecard.training.compiling.kept_lines import KeptLines
from cuecard.training.objective.top_tokens import Taught, TopTokens, top_tokens
from cuecard.training.setup import key_of
from cuecard.training.storage.log import RunLog
from cuecard.types import Encoded, Prediction, Record

FILE = "teacher.jsonl"
"""The answers, in the run's folder: a line that says whose they are, then one for each input."""

_AT_ONCE = 64  # inputs between two writes of the file
_ROWS = 8  # whose answers' tokens are read together


@dataclass(frozen=True)
class TextTeacher:
    """The whole text's answers to inputs.

    Args:
        text: the text.
        inputs: what is asked.
        folder: where the answers are kept; None keeps none.
    """

    text: FullText
    inputs: Sequence[Record]
    folder: Path | None = None

    @property
    def key(self) -> str:
        """A digest of all that the answers depend on."""
        return key_of([*self.text.parts, [dict(record.texts) for record in self.inputs]])

    @property
    def _kept(self) -> KeptLines:
        return KeptLines(self.folder, FILE, {"key": self.key})

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the answers of another text, or to other inputs.
        """
        self._kept.fits(folder, "answers", "another text, other inputs or another backbone")

    def answers(self, log: RunLog) -> list[Prediction]:
        """The answer to each input; what a folder has of them is not asked again.

        Raises:
            Stop: Ctrl-C; the answers so far are kept.
        """
        kept = self._kept
        known = [
            Prediction(index, line["answer"], line["scores"], line["probabilities"])
            for index, line in enumerate(kept.load())
        ]
        count = log.count("answering with the full text", len(self.inputs))
        if count is not None and known:
            count(len(known))
        while len(known) < len(self.inputs):
            some = self.inputs[len(known) : len(known) + _AT_ONCE]
            with may_cut():
                known += predict(
                    self.text.backbone,
                    self.text.spec,
                    [replace(record, target=None) for record in some],
                    self.text.injection,
                    slot=self.text.slot,
                    on_rows=count,
                )
            pairs = zip(self.inputs, known, strict=False)
            kept.save(_line(record, found) for record, found in pairs)
        return [replace(found, index=index) for index, found in enumerate(known)]

    def taught(self, task: Task, top: int) -> Taught:
        """The text's likeliest tokens for the rows of every split; nothing where labels answer.

        Raises:
            Stop: Ctrl-C.
        """
        text = self.text
        if text.spec.mode == "labels":
            return {}
        records = (*task.train, *task.validation, *task.test)
        every = text.spec.encode_rows(records, text.backbone.tokenizer, text.slot)
        rows = [*dict.fromkeys(every)]
        found: dict[Encoded, TopTokens] = {}
        for batch in ordered_batches(row_lengths(rows), _ROWS):
            some = [rows[index] for index in batch]
            with may_cut():
                tokens = top_tokens(text.backbone, some, text.injection, top)
            found.update(zip(some, tokens, strict=True))
        return found


def _line(record: Record, found: Prediction) -> dict[str, Any]:
    """An input and its answer, as they are kept."""
    return {
        "fields": record.texts,
        "answer": found.answer,
        "scores": found.scores,
        "probabilities": dict(found.probabilities),
    }


def task_of(text: FullText, inputs: Sequence[Record], answers: Sequence[Prediction]) -> Task:
    """Inputs with the teacher's answers as their targets, split by their content.

    Inputs that it answers with nothing are left out.

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
            "there are too few inputs that the full text answers",
            where="inputs",
            got=f"{len(inputs)} inputs, of which {len(rows)} have an answer",
            expected="some ten or more; hundreds are better",
        )
    return Task.from_records(text.spec, rows)


def answers_by_input(
    inputs: Sequence[Record], answers: Sequence[Prediction]
) -> Callable[[Sequence[Record]], list[Prediction]]:
    """A look-up of the answers to some of the inputs, whatever targets these have."""
    known = {_texts(record): found for record, found in zip(inputs, answers, strict=True)}
    return lambda records: [known[_texts(record)] for record in records]


def _texts(record: Record) -> tuple[tuple[str, str], ...]:
    return tuple(record.texts.items())
