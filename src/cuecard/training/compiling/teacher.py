"""What the backbone answers with the whole text in front: once for every input, and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cuecard.evaluation.loglikelihood import OnRows
from cuecard.evaluation.predict import predict
from cuecard.tasks import Task
from cuecard.training.compiling.full_text import FullText
from cuecard.training.distilling.answers import answer_once, likeliest_tokens
from cuecard.training.distilling.kept_lines import KeptLines
from cuecard.training.objective.top_tokens import Taught
from cuecard.training.setup import key_of
from cuecard.training.storage.log import RunLog
from cuecard.types import Prediction, Record

FILE = "teacher.jsonl"
"""The answers, in the run's folder: a line that says whose they are, then one for each input."""


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
        return answer_once(self.inputs, self._ask, self._kept, log, "answering with the full text")

    def _ask(self, records: Sequence[Record], on_rows: OnRows | None) -> list[Prediction]:
        text = self.text
        return predict(
            text.backbone, text.spec, records, text.injection, slot=text.slot, on_rows=on_rows
        )

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
        tokens = likeliest_tokens(text.backbone, rows, text.injection, top)
        return dict(zip(rows, tokens, strict=True))
