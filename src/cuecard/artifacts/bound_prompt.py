"""A prompt on its backbone, ready to be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.zero_shot import zero_shot
from cuecard.evaluation.embedding import embed
from cuecard.evaluation.evaluate import Evaluation, evaluate
from cuecard.evaluation.loglikelihood import OnRows
from cuecard.evaluation.predict import BATCH_ROWS, predict
from cuecard.lazy import torch
from cuecard.tasks.given_rows import RowsLike, given_records
from cuecard.tasks.spec import TaskSpec
from cuecard.types import (
    Backbone,
    HasLabelTower,
    Head,
    Injection,
    LabelTokens,
    Prediction,
    Record,
    Slot,
    Towers,
    by_tower,
)

if TYPE_CHECKING:
    from torch import Tensor

    from cuecard.artifacts.prompt import Prompt


@dataclass(frozen=True, eq=False)
class BoundPrompt:
    """A prompt and the backbone that it was made for: the one way to ask a saved prompt.

    `Prompt.bind` makes one. `dataclasses.replace` asks the same prompt differently: `prior=None`
    without calibration, `injection=None` with the template alone. Threads take turns on a backbone.

    Attributes:
        prompt: the prompt.
        backbone: the model that answers.
        injection: what goes into the model beside the rows; None for the template alone.
        prior: label -> log-prior that is taken off the scores; None for plain scores.
        other: a task and a head instead of the prompt's own; see `with_labels`.
        columns: field -> the column that it is read from in rows that have it.
    """

    prompt: Prompt
    backbone: Backbone
    injection: Injection | None
    prior: Mapping[str, float] | None
    other: tuple[TaskSpec, Head] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> TaskSpec:
        """The task that the prompt was made for, or with other labels."""
        return self.prompt.spec if self.other is None else self.other[0]

    @property
    def without_prompt(self) -> BoundPrompt:
        """The same task by the template alone, or by the labels' names alone: zero-shot.

        Raises:
            BackboneError: a name that is too long.
        """
        if self._around is None:
            return replace(self, injection=None, prior=None)
        injection, head = zero_shot(self.backbone, self.spec)
        return replace(self, injection=injection, prior=None, other=(self.spec, head))

    def with_labels(self, labels: Sequence[str]) -> BoundPrompt:
        """The same prompt around other labels' names, such as classes not seen in training.

        Raises:
            ConfigError: a prompt that is not around labels' names, or has vectors for each of them.
            BackboneError: a name that is too long.
        """
        around, names = self._around, [*labels]
        if around is None or not isinstance(self.backbone, HasLabelTower):
            raise _bound_to_labels(self.prompt, "a prompt that no label's name is read with")
        if len(around.vectors) > 1:
            raise _bound_to_labels(self.prompt, "vectors for each label")
        spec, asked = self.spec.with_labels(names), around.around(names)
        with torch.no_grad():
            head = self.backbone.label_head(names, asked)
        injection = Towers({**by_tower(self.injection), "labels": asked})
        return replace(self, injection=injection, prior=None, other=(spec, head))

    @property
    def _around(self) -> LabelTokens | None:
        """The vectors around labels' names."""
        piece = by_tower(self.injection).get("labels")
        return piece if isinstance(piece, LabelTokens) else None

    @property
    def slot(self) -> Slot:
        """Where the prompt's vectors go."""
        return self.prompt.manifest.slot

    @property
    def head(self) -> Head | None:
        """The prompt's trained head; None where the model itself answers."""
        return self.prompt.head() if self.other is None else self.other[1]

    def predict(
        self,
        rows: RowsLike,
        *,
        batch_rows: int = BATCH_ROWS,
        token_budget: int | None = None,
        stop: str | None = None,
        on_rows: OnRows | None = None,
    ) -> list[Prediction]:
        """Answer rows: one prediction each, in their order. Targets are not looked at.

        Args:
            rows: a list of mappings such as {"text": "a gob of drivel"}, of texts or images where
                the task has one field, or of records; or a data frame, or a set of `datasets`.
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
        records = self._records(rows)  # read before, so that others are not kept waiting for it
        with self.backbone.lock:
            return predict(
                self.backbone,
                self.spec,
                records,
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
        rows: RowsLike,
        *,
        batch_rows: int = BATCH_ROWS,
        token_budget: int | None = None,
        stop: str | None = None,
        seed: int = 0,
        on_rows: OnRows | None = None,
    ) -> Evaluation:
        """Answer labelled rows and compare the answers with their targets.

        Args:
            rows: records with targets, or mappings or a frame with the task's target field too.
            seed: of the draws behind F1's interval; the rest is as in `predict`.

        Raises:
            ConfigError: no rows.
            DataError: a row without a target, or with a label that is not the task's; else as
                `predict`.
        """
        records = self._records(rows, self.spec.target_field)
        with self.backbone.lock:
            return evaluate(
                self.backbone,
                self.spec,
                records,
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
        rows: RowsLike,
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
        with self.backbone.lock:
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

    def _records(self, rows: RowsLike, target: str | None = None) -> list[Record]:
        """The rows as records, read and checked as a data file's rows are."""
        return given_records(self.spec, rows, target, self.columns)


def _bound_to_labels(prompt: Prompt, got: str) -> ConfigError:
    return ConfigError(
        "this prompt answers with the labels that it was trained for",
        where="labels",
        got=f"{got} (method {prompt.manifest.method})",
        expected="vectors around labels' names that all labels share, as coop trains them",
    )
