"""A template and a tokenizer -> the context's text and ids, cut to length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2.exceptions import TemplateError as JinjaError

from cuecard.errors import ConfigError
from cuecard.tasks.template import Template
from cuecard.tasks.tokens import defuse, leading_ids, plain_ids, special_texts
from cuecard.types import Tokenizer

SURELY_LONG = 16
"""Characters per token that few texts reach; above it, encoding the whole first is a waste."""


@dataclass(frozen=True, slots=True)
class Context:
    """A rendered record.

    Attributes:
        text: the exact text, after cutting; without the tokenizer's own BOS.
        ids: its token ids, with the BOS where the tokenizer adds one itself.
        cut: how many tokens of the fields were cut away.
    """

    text: str
    ids: tuple[int, ...]
    cut: int


class Encoder:
    """A template bound to a tokenizer.

    Args:
        template: what surrounds the fields.
        tokenizer: the backbone's tokenizer; a chat template needs one of its own.
        max_length: the most tokens a context may have.

    Raises:
        ConfigError: no chat template, one that refuses the messages, or a template that alone
            fills the length.
    """

    def __init__(self, template: Template, tokenizer: Tokenizer, max_length: int) -> None:
        if template.chat and not tokenizer.chat_template:
            raise ConfigError(
                "the backbone's tokenizer has no chat template",
                where="chat",
                got="chat: true",
                expected="an instruction-tuned backbone, or chat: false",
            )
        self.template = template
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._specials = special_texts(tokenizer)
        self._leading = () if template.chat else leading_ids(tokenizer)
        self.ends_with_space = self._text(dict.fromkeys(template.fields, "x"))[-1:].isspace()
        self._bare = len(self._ids(self._text(dict.fromkeys(template.fields, ""))))
        if self._bare >= max_length:
            raise ConfigError(
                "the template alone fills the context",
                where="max_length",
                got=max_length,
                expected=f"more than the {self._bare} tokens of the template's own words",
            )

    def __call__(self, fields: Mapping[str, str]) -> Context:
        """Render, encode, and cut the longest fields from their ends where it is too long."""
        self.template.check(fields)
        texts = {n: defuse(fields[n], self._specials) for n in self.template.fields}
        if sum(map(len, texts.values())) < SURELY_LONG * self.max_length:
            text = self._text(texts)
            ids = self._ids(text)
            if len(ids) <= self.max_length:
                return Context(text, ids, 0)
        return self._cut(texts)

    def _cut(self, texts: Mapping[str, str]) -> Context:
        needed = self.template.fields
        encoded = {name: self._encode_field(texts[name]) for name in needed}
        lengths = {name: len(encoded[name]["input_ids"]) for name in needed}
        counts = {name: self.template.count(name) for name in needed}
        room = self.max_length - self._bare
        # Cutting can change how the seams are tokenized, so what is left is measured each time.
        while True:
            kept = share(lengths, counts, room)
            text = self._text({n: _head(texts[n], encoded[n], kept[n]) for n in needed})
            ids = self._ids(text)
            if len(ids) <= self.max_length:
                gone = sum(counts[name] * (lengths[name] - kept[name]) for name in needed)
                return Context(text, ids, gone)
            room -= len(ids) - self.max_length

    def _text(self, fields: Mapping[str, str]) -> str:
        text = self.template.render(fields)
        if self.template.ends_with_field:
            # What follows brings its own space.
            text = text.rstrip()
        if not self.template.chat:
            return text
        system = self.template.system
        messages = [{"role": "system", "content": system}] if system is not None else []
        messages.append({"role": "user", "content": text})
        try:
            rendered: Any = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except JinjaError as error:
            raise ConfigError(
                "the tokenizer's chat template refuses the messages",
                where="chat",
                got=str(error),
                expected="messages the backbone was tuned on",
                hint="leave the system message out" if system is not None else None,
            ) from error
        return str(rendered)

    def _ids(self, text: str) -> tuple[int, ...]:
        return self._leading + plain_ids(self.tokenizer, text)

    def _encode_field(self, text: str) -> Any:
        return self.tokenizer(
            text,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )


def share(lengths: Mapping[str, int], counts: Mapping[str, int], room: int) -> dict[str, int]:
    """How much of each field to keep: what the longest-first cutting of single tokens leaves.

    Args:
        lengths: each field's tokens.
        counts: how often the template uses each field.
        room: the tokens there are for all uses together; below 0 counts as 0.

    Returns:
        Kept tokens by field: the same level for every field that is cut.
    """
    low, high = 0, max(lengths.values())
    while low < high:
        level = (low + high + 1) // 2
        if sum(counts[name] * min(length, level) for name, length in lengths.items()) <= room:
            low = level
        else:
            high = level - 1
    return {name: min(length, low) for name, length in lengths.items()}


def _head(text: str, encoded: Any, kept: int) -> str:
    """The text's first tokens, without a half character or space at the end."""
    if kept >= len(encoded["input_ids"]):
        return text
    return text[: encoded.token_to_chars(kept).start].rstrip()
