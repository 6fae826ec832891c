"""What a task asks of a model, apart from the data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cuecard.errors import ConfigError, DataError
from cuecard.settings import parse_settings
from cuecard.tasks.encoding import Encoder
from cuecard.tasks.tables import record_place
from cuecard.tasks.template import Template, nearest
from cuecard.tasks.tokens import continuation_ids
from cuecard.tasks.verbalizer import Verbalizer
from cuecard.types import Encoded, Need, Record, Slot, Tokenizer

Kind = Literal["classification", "text-to-text", "embedding"]


class TaskSpec(BaseModel):
    """A task without its data: what goes into an artefact as JSON.

    Attributes:
        kind: "classification" (the model says one of the labels' words), "text-to-text", or
            "embedding" (a text becomes a vector, near to that of the text that belongs to it).
        template: the context, with `{field}` gaps, `{prompt}` where a prompt of the slot "infix"
            stands, and `{mask}` where a masked language model is to say a label's word.
        chat: whether the template is a user's message for the tokenizer's chat template.
        system: the chat's system message.
        labels: the labels in order; empty for text-to-text.
        words: label -> the word that stands for it; the label itself where it is not named.
        target_field: the column of the label, of the text to produce, or of the one that belongs
            to the template's.
        max_length: the most context tokens, the prompt not counted. What is longer loses the
            ends of its longest fields, never the template's own words.
        normalize: "length" scores a label by the mean log-probability of its tokens, "none" by
            the sum.
        max_new_tokens: how long a produced text may be.

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

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @model_validator(mode="after")
    def _check(self) -> TaskSpec:
        _ = self.parsed
        if self.system is not None and not self.chat:
            raise _contradiction("a system message without a chat", "system", self.system, "chat")
        if self.kind == "embedding":
            self._check_embedding()
        if self.kind != "classification":
            if self.parsed.has_mask:
                raise _contradiction("a mask for a text", "template", self.template, "no {mask}")
            if self.labels or self.words:
                got = ", ".join(self.labels or self.words)
                raise _contradiction(f"labels in kind {self.kind}", "labels", got, "no labels")
            return self
        if len(self.labels) < 2 or "" in self.labels:
            got = ", ".join(map(repr, self.labels)) or "(none)"
            expected = "two or more labels, none empty"
            raise _contradiction("too few labels", "labels", got, expected)
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
    def need(self) -> Need:
        """What the task asks of a backbone."""
        if self.kind == "embedding":
            return "states"
        return "masks" if self.parsed.has_mask else "next-tokens"

    @property
    def field_names(self) -> tuple[str, ...]:
        """The fields the template needs."""
        return self.parsed.fields

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
        context = (bound.infix if slot == "infix" else bound.encoder)(record.fields)
        # A masked model finds what opens every text at its first place, where it learnt it.
        first = 0 if self.need == "next-tokens" else len(bound.encoder.leading)
        places = {"prefix": first, "suffix": len(context.ids), "infix": context.before}
        return Encoded(
            context=context.ids,
            target=bound.target(record),
            slot=places[slot],
            cut=context.cut,
            mask=context.mask,
        )

    def render(self, record: Record, tokenizer: Tokenizer) -> str:
        """The exact text of the record's context, after cutting."""
        return _bind(self, tokenizer).encoder(record.fields).text

    def continuations(self, tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
        """The label words' token ids after this template, in the labels' order.

        Raises:
            ConfigError: a text-to-text task, a word without tokens, or two with the same.
        """
        return _bind(self, tokenizer).words()

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
        self._infix: Encoder | None = None
        if spec.kind == "classification":
            after_space = self.encoder.after_space
            ids = spec.verbalizer.continuations(tokenizer, after_space)
            self._words = dict(zip(spec.labels, ids, strict=True))

    @property
    def infix(self) -> Encoder:
        """The encoder that keeps the prompt's place in the template."""
        if self._infix is None:
            spec = self.spec
            self._infix = Encoder(spec.parsed, self.tokenizer, spec.max_length, infix=True)
        return self._infix

    def words(self) -> tuple[tuple[int, ...], ...]:
        if self.spec.kind != "classification":
            raise _contradiction("no label words to score", "kind", self.spec.kind, "labels")
        return tuple(self._words.values())

    def target(self, record: Record) -> tuple[int, ...]:
        if record.target is None:
            return ()
        if self.spec.kind == "classification":
            if record.target not in self._words:
                raise unknown_label(record, self.spec.labels)
            return self._words[record.target]
        if self.spec.kind == "embedding":
            (field,) = self.spec.field_names
            return self.encoder({field: record.target}).ids
        end = self.tokenizer.eos_token_id
        if end is None:
            raise _contradiction("no end token", "tokenizer", "none", "a tokenizer with one")
        ids = continuation_ids(self.tokenizer, record.target, self.encoder.after_space)
        return (*ids, int(end))


def unknown_label(record: Record, labels: tuple[str, ...]) -> DataError:
    """The error for a record whose label is not in the list."""
    return DataError(
        "a label that is not in the list",
        where=record_place(record),
        got=repr(record.target),
        expected=f"one of {', '.join(map(repr, labels))}",
        hint=nearest(record.target or "", labels),
    )


@lru_cache(maxsize=16)
def _bind_cached(spec: TaskSpec, tokenizer: Any, chat_template: str) -> _Bound:
    return _Bound(spec, tokenizer)


def _bind(spec: TaskSpec, tokenizer: Tokenizer) -> _Bound:
    key: Any = tokenizer
    # The chat template is part of the key: it can be replaced on the same tokenizer.
    return _bind_cached(spec, key, str(tokenizer.chat_template))


def _contradiction(what: str, where: str, got: str, expected: str) -> ConfigError:
    return ConfigError(f"the task has {what}", where=where, got=got, expected=expected)
