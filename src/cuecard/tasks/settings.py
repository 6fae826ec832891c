"""What is written down of a task, in recipes and in prompts: its settings, and its template."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cuecard.errors import ConfigError
from cuecard.tasks.template import Template


class NoSettings(BaseModel):
    """The own settings of a kind of task that has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@lru_cache(maxsize=64)
def _template(text: str, chat: bool, system: str | None) -> Template:
    """Settings are read for every record, and a copy of them may have another template."""
    return Template(text, chat, system)


HeadName = Literal["none", "trained", "pooled"]


class TaskSettings(BaseModel):
    """A task without its data, as it is written in recipes and in a prompt's JSON.

    A kind may have settings of its own (`TaskKind.settings`), given beside these.

    Attributes:
        kind: the name of one of `KINDS`.
        template: the context, with `{field}` gaps, `{prompt}` where a prompt of the slot "infix"
            stands, and `{mask}` where a masked language model is to say a label's word.
        chat: whether the template is a user's message for the tokenizer's chat template.
        system: the chat's system message, in which `{prompt}` is a place too.
        head: "trained" for a classification by a head on the last hidden state, "pooled" for one
            that also reads the mean of the input's values, see `read_for_heads`; the other kinds
            with a head always have the first.
        labels: the labels or tags in order; empty for kinds without.
        words: label -> the word for it; the label itself where it is not named.
        target_field: the column of the label, of the text to produce, or of the one that belongs
            to the template's.
        max_length: the most context tokens, the prompt not counted. What is longer loses the
            ends of its longest fields, never the template's own words.
        normalize: "length" scores a label by the mean log-probability of its tokens, "none" by
            the sum.
        max_new_tokens: how long a produced text may be.
        stop: a text that ends a produced one, such as a line's end; the end token always does.
        allow_empty: fields that a record may leave empty, such as an instruction's optional input.
        prefix_labels: what a label counts whose tokens begin another label's: "exclusive" only what
            does not go on as the other one (see `LabelWords`), "inclusive" all of it, so that the
            longer one never wins, as prompts of earlier versions do; "auto" is "exclusive".
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str
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
    head: HeadName = Field(default="none", exclude_if=lambda x: x == "none")
    stop: str | None = Field(default=None, min_length=1, exclude_if=lambda x: x is None)
    allow_empty: tuple[str, ...] = Field(default=(), exclude_if=lambda x: not x)
    # Written only by prompts that need it (`recorded`): where it is missing, labels are inclusive.
    prefix_labels: Literal["auto", "inclusive", "exclusive"] = Field(
        default="auto", exclude_if=lambda x: x != "exclusive"
    )

    def __eq__(self, other: object) -> bool:
        """Whether both are saved alike; a loaded spec is equal to the one that was saved."""
        if not isinstance(other, TaskSettings):
            return NotImplemented
        return self is other or self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def parsed(self) -> Template:
        """The template, checked."""
        return _template(self.template, self.chat, self.system)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The fields the template needs."""
        return self.parsed.fields

    @property
    def label_names(self) -> dict[str, str]:
        """Every label with its word."""
        return {label: self.words.get(label, label) for label in self.labels}

    @property
    def own(self) -> dict[str, Any]:
        """The settings of the task's kind alone, those that differ from their defaults."""
        return dict(self.model_extra or {})


def contradiction(what: str, where: str, got: str, expected: str) -> ConfigError:
    """The error for settings of a task that contradict each other."""
    return ConfigError(f"the task has {what}", where=where, got=got, expected=expected)
