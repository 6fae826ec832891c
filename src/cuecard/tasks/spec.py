"""What a task asks of a model, apart from the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import model_validator
from pydantic.fields import FieldInfo

from cuecard.errors import ConfigError
from cuecard.settings import parse_settings
from cuecard.tasks.encoding.bound import bind
from cuecard.tasks.encoding.label_words import LabelWords
from cuecard.tasks.kinds import KINDS, KindName, own_settings, with_own_settings
from cuecard.tasks.kinds.base import AnswerMode, TaskKind
from cuecard.tasks.kinds.multiple_choice import option_words
from cuecard.tasks.readers.columns import ColumnReader
from cuecard.tasks.settings import HeadName, TaskSettings, contradiction
from cuecard.tasks.similar import nearest
from cuecard.tasks.verbalizer import Verbalizer
from cuecard.types import (
    Backbone,
    Encoded,
    HasLabelTower,
    Head,
    ReadKind,
    Record,
    Slot,
    Tokenizer,
    Value,
    value_text,
)


class TaskSpec(TaskSettings):
    """A task without its data: its settings, checked, and what its kind makes of them.

    Raises:
        TemplateError: a template that cannot be parsed.
        ConfigError: settings that contradict each other, or that no kind has.
    """

    kind: KindName

    @model_validator(mode="before")
    @classmethod
    def _own_settings(cls, values: Any) -> Any:
        return with_own_settings(cls, values)

    @classmethod
    def more_settings(cls) -> dict[str, FieldInfo]:
        """What may be given beside the fields: the kinds' own settings."""
        return own_settings()

    @model_validator(mode="after")
    def _check(self) -> TaskSpec:
        template = self.parsed
        if self.system is not None and not self.chat:
            raise contradiction("a system message without a chat", "system", self.system, "chat")
        if self.allow_empty:
            self._check_optional()
        self.task_kind.check(self)
        if template.has_mask and self.mode != "labels":
            raise contradiction(
                "a mask where no label's word is asked for", "template", self.template, "no {mask}"
            )
        if self.stop is not None and self.mode != "text":
            got = f"stop {self.stop!r}, kind {self.kind}"
            raise contradiction("a stop text where no text is produced", "stop", got, "no stop")
        if self.head != "none" and not self.task_kind.head_is_optional:
            got = f"head {self.head}, kind {self.kind}"
            raise contradiction(
                "a head setting that its kind does not take", "head", got, "no head named"
            )
        self._check_labels()
        return self

    def _check_optional(self) -> None:
        """Fields that may be empty are the template's, and not all of them."""
        able = [name for name in self.field_names if name != self.read_field]
        for name in self.allow_empty:
            if name not in able:
                raise ConfigError(
                    f"{name!r} is not a field that may be empty",
                    where="allow_empty",
                    got=repr(name),
                    expected=f"a field of the template: {', '.join(able) or '(none)'}",
                    hint=nearest(name, able),
                )
        if set(self.allow_empty) == set(self.field_names):
            got = ", ".join(self.allow_empty)
            expected = "at least one field of the template with text"
            raise contradiction("no field that must have text", "allow_empty", got, expected)

    def _check_labels(self) -> None:
        if not self.task_kind.labelled:
            if self.labels or self.words:
                got = ", ".join(self.labels or self.words)
                raise contradiction(f"labels in kind {self.kind}", "labels", got, "no labels")
            return
        if len(self.labels) < self.task_kind.least_labels or "" in self.labels:
            got = ", ".join(map(repr, self.labels)) or "(none)"
            expected = "two or more labels, none empty"
            raise contradiction("too few labels", "labels", got, expected)
        twice = sorted({label for label in self.labels if self.labels.count(label) > 1})
        if twice:
            raise contradiction("a label given twice", "labels", ", ".join(twice), "each once")
        for label in self.words:
            if label not in self.labels:
                raise ConfigError(
                    "a word for a label that does not exist",
                    where="words",
                    got=repr(label),
                    expected=f"one of {', '.join(self.labels)}",
                    hint=nearest(label, self.labels),
                )

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> TaskSpec:
        """A spec from settings a user wrote.

        Raises:
            ConfigError: an unknown name, with the nearest one, or a value of the wrong kind.
        """
        return parse_settings(cls, settings, "task")

    @classmethod
    def of_prompt(cls, saved: Mapping[str, Any]) -> TaskSpec:
        """What `recorded` saved: labels are inclusive where it does not say otherwise."""
        return cls.model_validate({"prefix_labels": "inclusive", **saved})

    @property
    def task_kind(self) -> TaskKind[Any]:
        """The task's kind, which knows all that is the kind's own."""
        return KINDS[self.kind]

    @property
    def mode(self) -> AnswerMode:
        """How a model is asked for the answers."""
        return self.task_kind.answer_mode(self)

    @property
    def in_words(self) -> TaskSpec:
        """The same task without an optional head: the model says a label's word."""
        return self.with_head("none")

    def with_labels(self, labels: Sequence[str]) -> TaskSpec:
        """The same task with other labels, which are read as they are spelled.

        Raises:
            ConfigError: fewer than two, or one twice.
        """
        return TaskSpec.model_validate({**self.model_dump(), "labels": [*labels], "words": {}})

    def with_head(self, head: HeadName) -> TaskSpec:
        """The same task with another of the heads that it may have."""
        return self.model_copy(update={"head": head})

    @property
    def head_is_possible(self) -> bool:
        """Whether labels can be told apart by their words and by a head alike."""
        return self.task_kind.head_is_optional and not self.parsed.has_mask

    @property
    def reads(self) -> ReadKind:
        """What the task reads of a backbone."""
        if self.mode in ("vector", "pixels"):
            return "states" if self.mode == "vector" else "pixels"
        return "masks" if self.parsed.has_mask else "next-tokens"

    @property
    def record_fields(self) -> tuple[str, ...]:
        """The fields a record needs: the template's, and others that the kind reads."""
        return self.task_kind.record_fields(self)

    @property
    def read_field(self) -> str:
        """The field whose tokens' states are read: the words of a sentence, or a context."""
        return self.task_kind.read_field(self)

    @property
    def outputs(self) -> int:
        """K of the head: one per label or tag, one for a number, two for an answer's ends."""
        return self.task_kind.outputs(self)

    def check_head(self, head: Head | None, backbone: Backbone) -> None:
        """Refuse a head that is missing, too much, or of other sizes.

        Raises:
            ConfigError: one of these.
        """
        shape = None if head is None else tuple(head.weight.shape)
        layers = () if head is None else head.layers
        counted = 0 if head is None or head.tfidf is None else len(head.tfidf.ids)
        width = backbone.head_width(layers) + counted
        if head is not None and head.of_labels and isinstance(backbone, HasLabelTower):
            width = 1 if head.each else backbone.label_width()
        wanted = (self.outputs, width) if self.mode == "head" else None
        if wanted != shape or (self.head == "pooled") is not bool(layers):
            raise ConfigError(
                "the task's head is not the one it needs",
                where=f"a {self.kind} task",
                got="no head" if shape is None else f"a head {shape}",
                expected="no head" if wanted is None else f"a head {wanted}: train the task first",
            )

    def readers(
        self, target: str | None, columns: Mapping[str, str] | None = None
    ) -> dict[str, ColumnReader[Value]]:
        """How fields and targets are read that are no plain text.

        Args:
            target: the target's column; None where it is not read.
            columns: field -> the column it is read from, where that is not its own name.
        """
        return self.task_kind.columns(self, target, columns or {})

    def target_text(self, record: Record) -> str | None:
        """A record's target in hashes, counts and files; one given as text stays as it is."""
        target, kind = record.target, self.task_kind
        if target is None or isinstance(target, str):
            return target
        return value_text(kind.target_of(self, target), kind.separator(self))

    def with_value(self, record: Record) -> Record:
        """The record with its target as the kind has it, see `TaskKind.target_of`."""
        target = record.target
        value = None if target is None else self.task_kind.target_of(self, target)
        return record if value == target else replace(record, target=value)

    def label_of(self, record: Record) -> str:
        """The only label of a record's target, or its text."""
        (label,) = self.task_kind.labels_of(self, record.target or "")
        return label

    @property
    def verbalizer(self) -> Verbalizer:
        """Every label with its word."""
        return Verbalizer(self.label_names)

    def encode(self, record: Record, tokenizer: Tokenizer, slot: Slot = "prefix") -> Encoded:
        """A record as token ids; of a long text that makes several rows, the first.

        The context begins with a BOS only where the tokenizer adds one itself. The target is the
        label word's ids, or the text's ids and the end token, or those of the text that belongs to
        it, in the template; empty where the record has none.

        Raises:
            TemplateError: a field the template needs is missing.
            DataError: a label that is not in the list.
            ConfigError: a tokenizer that does not fit the task, or the slot "infix" for a template
                without `{prompt}`.
        """
        return self.encode_all(record, tokenizer, slot)[0]

    def encode_all(
        self, record: Record, tokenizer: Tokenizer, slot: Slot = "prefix"
    ) -> list[Encoded]:
        """The rows that a record is trained on: one, or one per window over a long context."""
        return self.task_kind.encode(self, record, tokenizer, slot)

    def encode_rows(
        self, records: Sequence[Record], tokenizer: Tokenizer, slot: Slot
    ) -> list[Encoded]:
        """The rows of every record, in order; see `encode_all`."""
        return [row for record in records for row in self.encode_all(record, tokenizer, slot)]

    def render(self, record: Record, tokenizer: Tokenizer) -> str:
        """The exact text of the record's context, after cutting."""
        return bind(self, tokenizer).encoder(record.texts).text

    def continuations(self, tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
        """The label words' token ids after this template, in the labels' order.

        Raises:
            ConfigError: a text-to-text task, a word without tokens, or two with the same.
        """
        return self.label_words(tokenizer).words

    def label_words(self, tokenizer: Tokenizer) -> LabelWords:
        """The label words' token ids after this template, and how they are scored.

        Raises:
            ConfigError: as `continuations`.
        """
        if self.mode != "labels":
            raise contradiction("no label words to score", "kind", self.kind, "labels")
        return bind(self, tokenizer).label_words

    def option_words(self, record: Record, tokenizer: Tokenizer) -> LabelWords:
        """The same for a record's own options."""
        return option_words(self, record, bind(self, tokenizer))

    def recorded(self, tokenizer: Tokenizer) -> TaskSpec:
        """The spec as a prompt is kept with it: it says whether its labels exclude each other.

        Only where that makes a difference, so that other prompts' digests stay as they are.
        """
        differs = self.mode == "options" or (
            self.mode == "labels" and bool(self.prefix_conflicts(tokenizer))
        )
        if self.prefix_labels != "auto" or not differs:
            return self
        return self.model_copy(update={"prefix_labels": "exclusive"})

    def is_same(self, other: TaskSpec, tokenizer: Tokenizer) -> bool:
        """Whether both ask the same and score it alike."""
        ours, theirs = (s.recorded(tokenizer).model_dump(mode="json") for s in (self, other))
        return ours == theirs

    def prefix_conflicts(self, tokenizer: Tokenizer) -> tuple[tuple[str, str], ...]:
        """Pairs of labels where the first one's tokens begin the second one's.

        None at masks, where words of different lengths are read after different inputs.
        """
        if self.parsed.has_mask:
            return ()
        after_space = bind(self, tokenizer).encoder.after_space
        return self.verbalizer.prefix_conflicts(tokenizer, after_space)
