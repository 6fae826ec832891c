"""A template and a tokenizer -> the context's text and ids, cut to length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cuecard.errors import ConfigError
from cuecard.lazy import lazy_module
from cuecard.tasks.encoding.tokens import (
    defuse,
    ids_after,
    leading_ids,
    mask_of,
    mask_takes_space,
    plain_ids,
    special_texts,
)
from cuecard.tasks.template import Template
from cuecard.types import Tokenizer

jinja2 = lazy_module("jinja2.exceptions")

_MARK = "\ue000"
"""Where the prompt stands while a text is put together: a code point that is nobody's character."""

_FIELD_MARK = "\ue001"
"""The same for a field whose tokens are placed on their own."""

SURELY_LONG = 16
"""Characters per token that few texts reach; above it, encoding the whole first is a waste."""


@dataclass(frozen=True, slots=True)
class Context:
    """A rendered record.

    Attributes:
        text: the exact text, after cutting; without the tokenizer's own BOS.
        ids: its token ids, with the BOS where the tokenizer adds one itself.
        cut: how many tokens of the fields were cut away.
        before: how many of the ids come before the prompt's place, if it was asked for; else 0.
        more: the same for its further places.
        mask: the place of the template's mask among the ids; None without one.
    """

    text: str
    ids: tuple[int, ...]
    cut: int
    before: int = 0
    more: tuple[int, ...] = ()
    mask: int | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """A rendered template split at one of its fields.

    Attributes:
        before, after: the tokens of what is around the field.
        text: the field, with the space before it.
        space: whether there is one, 0 or 1.
    """

    before: tuple[int, ...]
    text: str
    space: int
    after: tuple[int, ...]


class Encoder:
    """A template bound to a tokenizer.

    Args:
        template: what surrounds the fields.
        tokenizer: the backbone's tokenizer; a chat template needs one of its own.
        max_length: the most tokens a context may have.
        infix: whether the text is split at each `{prompt}` of the template, and the parts are read
            on their own. Only fields are ever cut, so its neighbours in the template stay.

    Raises:
        ConfigError: no chat template, one that refuses the messages, a template that alone fills
            the length, one without a place for the prompt, or one with a mask where the tokenizer
            has none.
    """

    def __init__(
        self, template: Template, tokenizer: Tokenizer, max_length: int, *, infix: bool = False
    ) -> None:
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
        self._mark = _MARK if infix else ""
        self._specials = special_texts(tokenizer)
        self._mask, self._mask_id = "", -1
        if template.has_mask:
            self._mask, self._mask_id = mask_of(tokenizer)
        self.leading = () if template.chat else leading_ids(tokenizer)
        self.after_space = self._is_after_space()
        bare = self._ids(self._text(dict.fromkeys(template.fields, "")))[0]
        if self._mask and bare.count(self._mask_id) != 1:
            raise ConfigError(
                "the tokenizer does not read the template's mask as one",
                where="template",
                got=f"{bare.count(self._mask_id)} mask tokens in {template.text!r}",
                expected=f"{{mask}} once, and {self._mask} nowhere else",
            )
        self._bare = len(bare)
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
        texts = {
            n: defuse(fields[n].replace(_MARK, ""), self._specials) for n in self.template.fields
        }
        if sum(map(len, texts.values())) < SURELY_LONG * self.max_length:
            text = self._text(texts)
            ids, before = self._ids(text)
            if len(ids) <= self.max_length:
                return self._context(text, ids, 0, before)
        return self._cut(texts)

    def _context(
        self, text: str, ids: tuple[int, ...], cut: int, before: tuple[int, ...]
    ) -> Context:
        first, *more = before or (0,)
        mask = ids.index(self._mask_id) if self._mask else None
        return Context(self._unmarked(text), ids, cut, first, tuple(more), mask)

    def _is_after_space(self) -> bool:
        """Whether a word that is said here brings no space of its own."""
        some = self._unmarked(self._text(dict.fromkeys(self.template.fields, "x")))
        if not self._mask:
            return some[-1:].isspace()
        before = some.partition(self._mask)[0]
        return not (before[-1:].isspace() and mask_takes_space(self.tokenizer))

    def around(self, fields: Mapping[str, str], name: str) -> Around:
        """What is before and after one field, for those who place its tokens themselves.

        Raises:
            TemplateError: a field the template needs is not there.
        """
        self.template.check(fields)
        texts = {n: self.safe(fields[n]) for n in self.template.fields}
        before, _, after = self._text({**texts, name: _FIELD_MARK}).partition(_FIELD_MARK)
        space = " " if before.endswith(" ") else ""
        before = before.removesuffix(" ")
        head = self.leading + (plain_ids(self.tokenizer, before) if before else ())
        return Around(
            before=head,
            text=space + texts[name],
            space=len(space),
            after=ids_after(self.tokenizer, after) if after else (),
        )

    def safe(self, text: str) -> str:
        """A field's text as `around` has it: control tokens in it are broken."""
        return defuse(text.replace(_FIELD_MARK, ""), self._specials)

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
            ids, before = self._ids(text)
            if len(ids) <= self.max_length:
                gone = sum(counts[name] * (lengths[name] - kept[name]) for name in needed)
                return self._context(text, ids, gone, before)
            room -= len(ids) - self.max_length

    def _text(self, fields: Mapping[str, str]) -> str:
        text = self.template.render(fields, self._mark, self._mask)
        if self.template.ends_with_field:
            # What follows brings its own space.
            text = text.rstrip()
        if not self.template.chat:
            return text
        system = self.template.render_system(self._mark)
        messages = [{"role": "system", "content": system}] if system is not None else []
        messages.append({"role": "user", "content": text})
        try:
            rendered: Any = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except jinja2.TemplateError as error:
            raise ConfigError(
                "the tokenizer's chat template refuses the messages",
                where="chat",
                got=str(error),
                expected="messages the backbone was tuned on",
                hint="leave the system message out" if system is not None else None,
            ) from error
        return str(rendered)

    def _unmarked(self, text: str) -> str:
        return text.replace(_MARK, "") if self._mark else text

    def _ids(self, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The text's ids, and how many of them come before each mark."""
        if not self._mark:
            return self.leading + plain_ids(self.tokenizer, text), ()
        first, *parts = text.split(_MARK)
        places = self.template.places
        if len(parts) != places:
            raise ConfigError(
                "the tokenizer's chat template does not keep the prompt's place",
                where="slot infix",
                got=f"{len(parts)} places",
                expected=places,
                hint="use another slot, or chat: false",
            )
        ids = self.leading + (plain_ids(self.tokenizer, first) if first else ())
        before = []
        for part in parts:
            before.append(len(ids))
            ids += ids_after(self.tokenizer, part) if part else ()
        return ids, tuple(before)

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
