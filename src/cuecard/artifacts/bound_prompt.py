"""A prompt on its backbone, ready to be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cuecard.errors import ConfigError, DataError
from cuecard.evaluation.embedding import embed
from cuecard.evaluation.evaluate import Evaluation, evaluate
from cuecard.evaluation.loglikelihood import OnRows
from cuecard.evaluation.predict import BATCH_ROWS, predict
from cuecard.tasks.readers.tables import Table, Wanted, records
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Head, Injection, Prediction, Record, Slot

if TYPE_CHECKING:
    from torch import Tensor

    from cuecard.artifacts.prompt import Prompt

RecordLike = Record | Mapping[str, Any]
"""A record, or a mapping from its fields to their values as a data file has them."""


@dataclass(frozen=True, eq=False)
class BoundPrompt:
    """A prompt and the backbone that it was made for: the one way to ask a saved prompt.

    `Prompt.bind` makes one. `dataclasses.replace` asks the same prompt differently: `prior=None`
    without calibration, `injection=None` with the template alone.

    Attributes:
        prompt: the prompt.
        backbone: the model that answers.
        injection: what goes into the model beside the rows; None for the template alone.
        prior: label -> log-prior that is taken off the scores; None for plain scores.
    """

    prompt: Prompt
    backbone: Backbone
    injection: Injection | None
    prior: Mapping[str, float] | None

    @property
    def spec(self) -> TaskSpec:
        """The task that the prompt was made for."""
        return self.prompt.spec

    @property
    def slot(self) -> Slot:
        """Where the prompt's vectors go."""
        return self.prompt.manifest.slot

    @property
    def head(self) -> Head | None:
        """The prompt's trained head; None where the model itself answers."""
        return self.prompt.head()

    def predict(
        self,
        rows: Sequence[RecordLike],
        *,
        batch_rows: int = BATCH_ROWS,
        token_budget: int | None = None,
        stop: str | None = None,
        on_rows: OnRows | None = None,
    ) -> list[Prediction]:
        """Answer rows: one prediction each, in their order. Targets are not looked at.

        Args:
            rows: records, or mappings such as {"text": "a gob of drivel"}.
            batch_rows: the most rows in a forward pass.
            token_budget: the most rows times longest row in a forward pass; None for no limit.
            stop: a text that ends an answer that is written; the end token always does.
            on_rows: called after every pass with the number of rows just answered.

        Raises:
            DataError: a mapping that lacks a field or holds an empty text.
            TemplateError: a record without a field of the template.
            ConfigError: a prompt whose task gives vectors and no answers (see `embed`).
            BackboneError: a row that does not fit the backbone.
        """
        return predict(
            self.backbone,
            self.spec,
            self._records(rows),
            self.injection,
            slot=self.slot,
            prior=self.prior,
            head=self.head,
            batch_rows=batch_rows,
            token_budget=token_budget,
            stop=stop,
            on_rows=on_rows,
        )

    def evaluate(
        self,
        rows: Sequence[RecordLike],
        *,
        batch_rows: int = BATCH_ROWS,
        token_budget: int | None = None,
        stop: str | None = None,
        seed: int = 0,
        on_rows: OnRows | None = None,
    ) -> Evaluation:
        """Answer labelled rows and compare the answers with their targets.

        Args:
            rows: records with targets, or mappings that hold the task's target field too.
            seed: of the draws behind F1's interval; the rest is as in `predict`.

        Raises:
            ConfigError: no rows.
            DataError: a row without a target, or with a label that is not the task's; else as
                `predict`.
        """
        return evaluate(
            self.backbone,
            self.spec,
            self._records(rows, self.spec.target_field),
            self.injection,
            slot=self.slot,
            prior=self.prior,
            head=self.head,
            batch_rows=batch_rows,
            token_budget=token_budget,
            stop=stop,
            seed=seed,
            on_rows=on_rows,
        )

    def generate(
        self,
        rows: Sequence[RecordLike],
        *,
        batch_rows: int = BATCH_ROWS,
        token_budget: int | None = None,
        stop: str | None = None,
        on_rows: OnRows | None = None,
    ) -> list[str]:
        """The texts that the model writes for rows, in their order; arguments as in `predict`.

        Raises:
            ConfigError: a prompt whose task has labels, numbers or vectors as answers; else as
                `predict`.
        """
        if self.spec.mode != "text":
            raise ConfigError(
                "this prompt does not generate texts",
                where="kind",
                got=self.spec.kind,
                expected="text-to-text",
                hint="`predict` gives its answers",
            )
        answers = self.predict(
            rows, batch_rows=batch_rows, token_budget=token_budget, stop=stop, on_rows=on_rows
        )
        return [answer.answer for answer in answers]

    def embed(
        self,
        texts: Sequence[str],
        *,
        batch_rows: int = BATCH_ROWS,
        token_budget: int | None = None,
        on_rows: OnRows | None = None,
    ) -> Tensor:
        """The texts' vectors: [n, H] float32 of unit length, in the texts' order, on the CPU.

        Raises:
            ConfigError: a prompt whose task gives answers and no vectors (see `predict`).
            BackboneError: a text that does not fit the backbone.
        """
        return embed(
            self.backbone,
            self.spec,
            texts,
            self.injection,
            slot=self.slot,
            batch_rows=batch_rows,
            token_budget=token_budget,
            on_rows=on_rows,
        )

    def _records(self, rows: Sequence[RecordLike], target: str | None = None) -> list[Record]:
        """The rows as records, mappings read and checked as a data file's rows are."""
        spec = self.spec
        if isinstance(rows, str | Mapping):
            raise _not_a_row(rows, "rows", "a list of rows")
        wanted = Wanted(
            spec.record_fields, target, readers=spec.readers(target), optional=spec.allow_empty
        )
        return [_record(number, row, wanted) for number, row in enumerate(rows, 1)]


def _record(number: int, row: RecordLike, wanted: Wanted) -> Record:
    if isinstance(row, Record):
        return row
    if not isinstance(row, Mapping):
        raise _not_a_row(row, f"rows, row {number}", "a mapping from fields to values")
    return records(Table("rows", None, [(number, row)]), wanted)[0]


def _not_a_row(given: object, where: str, expected: str) -> DataError:
    return DataError(
        "not a row",
        where=where,
        got=type(given).__name__,
        expected=expected,
        hint='a row is a mapping such as {"text": "a gob of drivel"}',
    )
