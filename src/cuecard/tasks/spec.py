"""What a task asks of a model, apart from the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cuecard.errors import ConfigError, DataError
from cuecard.settings import parse_settings
from cuecard.tasks.encoding import Around, Encoder
from cuecard.tasks.kinds import (
    HEADED,
    LABELLED,
    READS_FIELD,
    Kind,
    answer_place,
    cells_for,
    goal_of,
    unknown_label,
)
from cuecard.tasks.label_words import LabelWords
from cuecard.tasks.readers.columns import Cell, options_of
from cuecard.tasks.readers.tables import record_place
from cuecard.tasks.similar import nearest
from cuecard.tasks.spans import (
    Tokens,
    Window,
    room_for,
    span_goal,
    tokens_of,
    windows_of,
    word_row,
)
from cuecard.tasks.template import Template
from cuecard.tasks.tokens import closing_count, continuation_ids
from cuecard.tasks.verbalizer import Verbalizer
from cuecard.types import Encoded, ReadKind, Record, Slot, Tokenizer


class TaskSpec(BaseModel):
    """A task without its data: what goes into an artefact as JSON.

    Attributes:
        kind: "classification" (the model says one of the labels' words, or a head tells the labels
            apart), "text-to-text", "multiple-choice" (the likeliest of a row's own options), with a
            head "multi-label", "regression", "tagging" (of words) and "extractive-qa", and
            "embedding" (a text becomes a vector, near to that of the text that belongs to it).
        template: the context, with `{field}` gaps, `{prompt}` where a prompt of the slot "infix"
            stands, and `{mask}` where a masked language model is to say a label's word.
        chat: whether the template is a user's message for the tokenizer's chat template.
        system: the chat's system message.
        head: "trained" for a classification by a head; the other kinds with one need no saying.
        labels: the labels or tags in order; empty for kinds without.
        words: label -> the word that stands for it; the label itself where it is not named.
        target_field: the column of the label, of the text to produce, or of the one that belongs
            to the template's.
        max_length: the most context tokens, the prompt not counted. What is longer loses the
            ends of its longest fields, never the template's own words.
        normalize: "length" scores a label by the mean log-probability of its tokens, "none" by
            the sum.
        max_new_tokens: how long a produced text may be.
        separator: what parts a row's labels ("multi-label").
        options_field: the column of the options, or one column each, parted by commas.
        subword: the token of a word that is read ("tagging"). A causal model has seen the whole
            word at its last one alone.
        allow_empty: fields that a record may leave empty, such as an instruction's optional input.
        mean, scale: of the training targets ("regression"); a head learns (target - mean) / scale.
        prefix_labels: what a label counts whose tokens begin another label's: "exclusive" only what
            does not go on as the other one (see `LabelWords`), "inclusive" all of it, so that the
            longer one never wins, as prompts of earlier versions do; "auto" is "exclusive".

    Raises:
        TemplateError: a template that cannot be parsed.
        ConfigError: settings that contradict each other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    template: str
    chat: bool = False
    system: str | None = None
    labels: tuple[str, ...] = ()
    words: dict[str, str] = Field(default_factory=dict)
    target_field: str = "label"
    max_length: int = Field(default=512, gt=0)
    normalize: Literal["none", "length"] = "none"
    max_new_tokens: int = Field(default=64, gt=0)
    # Left out where not used, so that such prompts' digests are those of the schema's first days.
    head: Literal["none", "trained"] = Field(default="none", exclude_if=lambda x: x == "none")
    separator: str = Field(default=",", min_length=1, exclude_if=lambda x: x == ",")
    options_field: str = Field(default="options", exclude_if=lambda x: x == "options")
    subword: Literal["first", "last"] = Field(default="first", exclude_if=lambda x: x == "first")
    allow_empty: tuple[str, ...] = Field(default=(), exclude_if=lambda x: not x)
    mean: float = Field(default=0.0, allow_inf_nan=False, exclude_if=lambda x: x == 0)
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False, exclude_if=lambda x: x == 1)
    # Said only by prompts that need it (`recorded`): where it is not said, labels are inclusive.
    prefix_labels: Literal["auto", "inclusive", "exclusive"] = Field(
        default="auto", exclude_if=lambda x: x != "exclusive"
    )

    def __eq__(self, other: object) -> bool:
        """Whether both are saved alike; a loaded spec is equal to the one that was saved."""
        if not isinstance(other, TaskSpec):
            return NotImplemented
        return self is other or self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @model_validator(mode="after")
    def _check(self) -> TaskSpec:
        _ = self.parsed
        if self.system is not None and not self.chat:
            raise _contradiction("a system message without a chat", "system", self.system, "chat")
        if self.allow_empty:
            self._check_optional()
        if self.kind == "embedding":
            self._check_embedding()
        if (self.kind != "classification" or self.head == "trained") and self.parsed.has_mask:
            raise _contradiction("a mask for a text", "template", self.template, "no {mask}")
        if self.head == "trained" and self.kind != "classification":
            got = f"head trained, kind {self.kind}"
            raise _contradiction("a head that it cannot choose", "head", got, "no head named")
        if self.kind in READS_FIELD:
            self._check_field()
        if self.kind not in LABELLED:
            if self.labels or self.words:
                got = ", ".join(self.labels or self.words)
                raise _contradiction(f"labels in kind {self.kind}", "labels", got, "no labels")
            return self
        least = 1 if self.kind == "multi-label" else 2
        if len(self.labels) < least or "" in self.labels:
            got = ", ".join(map(repr, self.labels)) or "(none)"
            expected = "two or more labels, none empty"
            raise _contradiction("too few labels", "labels", got, expected)
        return self._check_labels()

    def _check_field(self) -> None:
        """The field that is read stands in the template, once, and words behind an answer's."""
        name = self.read_field
        if self.parsed.count(name) != 1:
            got = f"{{{name}}} {self.parsed.count(name)} times in {self.template!r}"
            raise _contradiction("no one place for its text", "template", got, f"{{{name}}} once")
        if self.kind == "extractive-qa" and self.template.rstrip().endswith(f"{{{name}}}"):
            expected = f"words behind {{{name}}}, such as 'Answer:', where \"not here\" is read"
            raise _contradiction("nothing behind its text", "template", self.template, expected)

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
            raise _contradiction("every field may be empty", "allow_empty", got, expected)

    def _check_labels(self) -> TaskSpec:
        twice = sorted({label for label in self.labels if self.labels.count(label) > 1})
        if twice:
            raise _contradiction("a label given twice", "labels", ", ".join(twice), "each once")
        for label in self.words:
            if label not in self.labels:
                raise ConfigError(
                    "a word for a label that does not exist",
                    where="words",
                    got=repr(label),
                    expected=f"one of {', '.join(self.labels)}",
                    hint=nearest(label, self.labels),
                )
        return self

    def _check_embedding(self) -> None:
        """Both texts of a pair are read in the same template."""
        template = self.parsed
        if self.chat or template.has_prompt or len(template.fields) != 1:
            raise _contradiction(
                "no template for single texts", "template", self.template, "one field alone"
            )

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> TaskSpec:
        """A spec from settings a user wrote.

        Raises:
            ConfigError: an unknown name, with the nearest one, or a value of the wrong kind.
        """
        return parse_settings(cls, settings, "task")

    @property
    def parsed(self) -> Template:
        """The template, checked."""
        return Template(self.template, self.chat, self.system)

    @property
    def reads(self) -> ReadKind:
        """What the task reads of a backbone."""
        if self.kind == "embedding":
            return "states"
        return "masks" if self.parsed.has_mask else "next-tokens"

    @property
    def field_names(self) -> tuple[str, ...]:
        """The fields the template needs."""
        return self.parsed.fields

    @property
    def record_fields(self) -> tuple[str, ...]:
        """The fields a record needs: the template's, and its options."""
        return self.field_names + (("options",) if self.kind == "multiple-choice" else ())

    @property
    def read_field(self) -> str:
        """The field whose tokens' states are read: the words of a sentence, or a context."""
        if self.kind == "tagging" and len(self.field_names) == 1:
            return self.field_names[0]
        return READS_FIELD.get(self.kind, "")

    @property
    def headed(self) -> bool:
        """Whether a trained head answers."""
        return self.kind in HEADED or self.head == "trained"

    @property
    def outputs(self) -> int:
        """K of the head: one per label or tag, one for a number, two for an answer's ends."""
        return {"regression": 1, "extractive-qa": 2}.get(self.kind, len(self.labels))

    def check_head(self, shape: tuple[int, ...] | None, width: int) -> None:
        """Refuse a head that is missing, too much, or of other sizes.

        Args:
            shape: of the head's weight; None without a head.
            width: the backbone's hidden size.

        Raises:
            ConfigError: one of these.
        """
        wanted = (self.outputs, width) if self.headed else None
        if wanted != shape:
            raise ConfigError(
                "the task's head is not the one it needs",
                where=f"a {self.kind} task",
                got="no head" if shape is None else f"a head {shape}",
                expected="no head" if wanted is None else f"a head {wanted}: train the task first",
            )

    def cells(
        self, target: str | None, columns: Mapping[str, str] | None = None
    ) -> dict[str, Cell]:
        """How fields and targets are read that are no plain text.

        Args:
            target: the target's column; None where it is not read.
            columns: field -> the column it is read from, where that is not its own name.
        """
        name = self.read_field
        column = (columns or {}).get(name, name)
        options = self.options_field
        return cells_for(self.kind, name, column, target, self.separator, options)

    @property
    def verbalizer(self) -> Verbalizer:
        """Every label with its word."""
        return Verbalizer({label: self.words.get(label, label) for label in self.labels})

    def encode(self, record: Record, tokenizer: Tokenizer, slot: Slot = "prefix") -> Encoded:
        """A record as token ids.

        The context begins with a BOS only where the tokenizer adds one itself. The target is the
        label word's ids, or the text's ids and the end token, or those of the text that belongs to
        it, in the template; empty where the record has none.

        Raises:
            TemplateError: a field the template needs is missing.
            DataError: a label that is not in the list.
            ConfigError: a tokenizer that does not fit the task, or the slot "infix" for a template
                without `{prompt}`.
        """
        bound = _bind(self, tokenizer)
        if self.kind in READS_FIELD:
            return self.windows(record, tokenizer)[0].encoded
        context = (bound.infix if slot == "infix" else bound.encoder)(record.fields)
        # A masked model finds what opens every text at its first place, where it learnt it.
        first = 0 if self.reads == "next-tokens" else len(bound.encoder.leading)
        if self.headed:
            first = bound.front
        places = {"prefix": first, "suffix": len(context.ids), "infix": context.before}
        return Encoded(
            context=context.ids,
            target=bound.target(record),
            slot=places[slot],
            cut=context.cut,
            more=context.more,
            deal=self.parsed.deal if slot == "infix" and any(self.parsed.deal) else (),
            mask=context.mask,
            goal=goal_of(self, record) if self.headed else (),
            barred=bound.barred(record),
        )

    def encode_all(
        self, record: Record, tokenizer: Tokenizer, slot: Slot = "prefix"
    ) -> list[Encoded]:
        """The rows that a record is trained on: one, or one per window over a long context."""
        if self.kind != "extractive-qa":
            return [self.encode(record, tokenizer, slot)]
        return [window.encoded for window in self.windows(record, tokenizer)]

    def windows(self, record: Record, tokenizer: Tokenizer) -> list[Window]:
        """A sentence's or a context's rows with the tokens that each reads, the prompt in front.

        Raises:
            DataError: no room for the text beside the template and the other fields.
        """
        around, tokens = self.tokens(record, tokenizer)
        room = room_for(around, self.max_length, record_place(record))
        safe, text = _bind(self, tokenizer).encoder.safe, record.fields[self.read_field]
        if self.kind == "tagging":
            words = [len(safe(word)) for word in text.split(" ")]
            row = word_row(around, tokens, words, room, last=self.subword == "last")
            row = replace(row, slot=_bind(self, tokenizer).front)
            goals = goal_of(self, record)[: len(row.at)]
            if record.target is not None and not row.at:
                raise DataError(
                    "a sentence of which the tokenizer leaves nothing",
                    where=record_place(record),
                    got=repr(text[:40]),
                    expected="words with tokens",
                )
            return [Window(replace(row, goal=goals), 0, len(row.at))]
        found = [
            replace(w, encoded=replace(w.encoded, slot=_bind(self, tokenizer).front))
            for w in windows_of(around, tokens, room)
        ]
        if record.target is None:
            return found
        start, end = (len(safe(text[:place])) for place in answer_place(record))
        goal = tokens.cover(start, end)
        return [replace(w, encoded=replace(w.encoded, goal=span_goal(w, goal))) for w in found]

    def tokens(self, record: Record, tokenizer: Tokenizer) -> tuple[Around, Tokens]:
        """What stands around the field that is read, and the field's tokens with their places."""
        around = _bind(self, tokenizer).encoder.around(record.fields, self.read_field)
        return around, tokens_of(tokenizer, around)

    def render(self, record: Record, tokenizer: Tokenizer) -> str:
        """The exact text of the record's context, after cutting."""
        return _bind(self, tokenizer).encoder(record.fields).text

    def continuations(self, tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
        """The label words' token ids after this template, in the labels' order.

        Raises:
            ConfigError: a text-to-text task, a word without tokens, or two with the same.
        """
        return _bind(self, tokenizer).words()

    def label_words(self, tokenizer: Tokenizer) -> LabelWords:
        """The label words' token ids after this template, and how they are scored.

        Raises:
            ConfigError: as `continuations`.
        """
        bound = _bind(self, tokenizer)
        bound.words()
        return bound.label_words

    def option_words(self, record: Record, tokenizer: Tokenizer) -> LabelWords:
        """The same for a record's own options ("multiple-choice")."""
        bound = _bind(self, tokenizer)
        ids = [bound.option(option) for option in options_of(record.fields["options"])]
        return LabelWords.of(ids, exclusive=self.prefix_labels != "inclusive")

    def recorded(self, tokenizer: Tokenizer) -> TaskSpec:
        """The spec as a prompt is kept with it: it says whether its labels exclude each other.

        Only where that makes a difference, so that other prompts' digests stay as they are.
        """
        differs = self.kind == "multiple-choice" or (
            self.kind == "classification" and not self.headed and self.prefix_conflicts(tokenizer)
        )
        if self.prefix_labels != "auto" or not differs:
            return self
        return self.model_copy(update={"prefix_labels": "exclusive"})

    @classmethod
    def of_prompt(cls, saved: Mapping[str, Any]) -> TaskSpec:
        """What `recorded` saved: labels are inclusive where it does not say otherwise."""
        return cls.model_validate({"prefix_labels": "inclusive", **saved})

    def is_same(self, other: TaskSpec, tokenizer: Tokenizer) -> bool:
        """Whether both ask the same and score it alike."""
        ours, theirs = (s.recorded(tokenizer).model_dump(mode="json") for s in (self, other))
        return ours == theirs

    def prefix_conflicts(self, tokenizer: Tokenizer) -> tuple[tuple[str, str], ...]:
        """Pairs of labels where the first one's tokens begin the second one's.

        None at masks, where words of different lengths are read behind different inputs.
        """
        if self.parsed.has_mask:
            return ()
        after_space = _bind(self, tokenizer).encoder.after_space
        return self.verbalizer.prefix_conflicts(tokenizer, after_space)


class _Bound:
    """A spec and a tokenizer, with what is the same for every record worked out once."""

    def __init__(self, spec: TaskSpec, tokenizer: Tokenizer) -> None:
        self.spec = spec
        self.tokenizer = tokenizer
        self.encoder = Encoder(spec.parsed, tokenizer, spec.max_length)
        self._words: dict[str, tuple[int, ...]] = {}
        self._barred: dict[str, tuple[int, ...]] = {}
        self._infix: Encoder | None = None
        self.label_words = LabelWords((), ())
        if spec.kind == "classification" and not spec.headed:
            after_space = self.encoder.after_space
            ids = spec.verbalizer.continuations(tokenizer, after_space)
            self._words = dict(zip(spec.labels, ids, strict=True))
            # At masks, words of different lengths are read behind different inputs.
            exclusive = spec.prefix_labels != "inclusive" and not spec.parsed.has_mask
            self.label_words = LabelWords.of(ids, exclusive=exclusive)
            self._barred = dict(zip(spec.labels, self.label_words.barred, strict=True))

    @cached_property
    def front(self) -> int:
        """Where a prompt in front of a text that is read by a head stands.

        Behind what opens it where a tokenizer closes its texts too, as those of encoders do.
        """
        return len(self.encoder.leading) if closing_count(self.tokenizer) else 0

    @property
    def infix(self) -> Encoder:
        """The encoder that keeps the prompt's place in the template."""
        if self._infix is None:
            spec = self.spec
            self._infix = Encoder(spec.parsed, self.tokenizer, spec.max_length, infix=True)
        return self._infix

    def words(self) -> tuple[tuple[int, ...], ...]:
        if self.spec.kind != "classification" or self.spec.headed:
            raise _contradiction("no label words to score", "kind", self.spec.kind, "labels")
        return tuple(self._words.values())

    def target(self, record: Record) -> tuple[int, ...]:
        if record.target is None or self.spec.headed:
            return ()
        if self.spec.kind == "multiple-choice":
            return self.option(record.target)
        if self.spec.kind == "classification":
            if record.target not in self._words:
                raise unknown_label(record, record.target, self.spec.labels)
            return self._words[record.target]
        if self.spec.kind == "embedding":
            (field,) = self.spec.field_names
            return self.encoder({field: record.target}).ids
        end = self.tokenizer.eos_token_id
        if end is None:
            raise _contradiction("no end token", "tokenizer", "none", "a tokenizer with one")
        ids = continuation_ids(self.tokenizer, record.target, self.encoder.after_space)
        return (*ids, int(end))

    def barred(self, record: Record) -> tuple[int, ...]:
        """The tokens that would make the target another label, or another option."""
        if record.target is None or self.spec.headed:
            return ()
        if self.spec.kind == "multiple-choice":
            options = options_of(record.fields["options"])
            words = self.spec.option_words(record, self.tokenizer)
            return dict(zip(options, words.barred, strict=True)).get(record.target, ())
        return self._barred.get(record.target, ())

    def option(self, text: str) -> tuple[int, ...]:
        """An option's ids behind the context."""
        ids = continuation_ids(self.tokenizer, text, self.encoder.after_space)
        if not ids:
            raise _contradiction("an option without tokens", "options", repr(text), "some text")
        return ids


@lru_cache(maxsize=16)
def _bind_cached(spec: TaskSpec, prefix_labels: str, tokenizer: Any, chat_template: str) -> _Bound:
    return _Bound(spec, tokenizer)


def _bind(spec: TaskSpec, tokenizer: Tokenizer) -> _Bound:
    key: Any = tokenizer
    # The chat template is part of the key: it can be replaced on the same tokenizer. Equal specs
    # may differ in `prefix_labels`, which is not always saved.
    return _bind_cached(spec, spec.prefix_labels, key, str(tokenizer.chat_template))


def _contradiction(what: str, where: str, got: str, expected: str) -> ConfigError:
    return ConfigError(f"the task has {what}", where=where, got=got, expected=expected)
