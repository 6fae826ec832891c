"""Text to token ids, the same way for every tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from cuecard.errors import ConfigError
from cuecard.types import Tokenizer


def plain_ids(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """The ids of the text alone, without the tokenizer's own additions."""
    return tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def leading_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids the tokenizer itself puts before every text: its BOS, or nothing."""
    key: Any = tokenizer
    return _leading_ids(key)


@lru_cache(maxsize=16)  # a server asks for every text
def _leading_ids(tokenizer: Any) -> tuple[int, ...]:
    probe = "a"
    alone = plain_ids(tokenizer, probe)
    usual = tuple(tokenizer(probe, verbose=False)["input_ids"])
    starts = range(len(usual) - len(alone) + 1)
    return usual[: next((at for at in starts if usual[at : at + len(alone)] == alone), 0)]


def closing_count(tokenizer: Tokenizer) -> int:
    """How many ids the tokenizer itself puts after every text."""
    usual = len(tokenizer("a", verbose=False)["input_ids"])
    return usual - len(leading_ids(tokenizer)) - len(plain_ids(tokenizer, "a"))


def continuation_ids(tokenizer: Tokenizer, text: str, after_space: bool) -> tuple[int, ...]:
    """The ids of a text that goes on from a context.

    The text gets a leading space unless the context ends with whitespace. It is read after an
    anchor that is then taken off, since some tokenizers put a space of their own before any text.
    """
    return ids_after(tokenizer, text) if after_space else ids_after(tokenizer, f" {text}", ":")


def ids_after(tokenizer: Tokenizer, text: str, anchor: str = "\n") -> tuple[int, ...]:
    """The ids of a text as it is after an anchor, without a space of the tokenizer's own."""
    head = plain_ids(tokenizer, anchor)
    whole = plain_ids(tokenizer, anchor + text)
    if whole[: len(head)] == head:
        return whole[len(head) :]
    return plain_ids(tokenizer, text)


def mask_of(tokenizer: Tokenizer) -> tuple[str, int]:
    """The tokenizer's mask token as text and id.

    Raises:
        ConfigError: it has none.
    """
    text, token = (getattr(tokenizer, name, None) for name in ("mask_token", "mask_token_id"))
    if text is None or token is None:
        raise ConfigError(
            "the template has a mask, and the backbone's tokenizer has none",
            where="template",
            got="{mask}",
            expected="a masked language model, or a template without {mask}",
        )
    return str(text), int(token)


def mask_takes_space(tokenizer: Tokenizer) -> bool:
    """Whether a space before the mask token is part of it, and so of the word it stands for."""
    text, token = mask_of(tokenizer)
    return plain_ids(tokenizer, f"a {text}") == (*plain_ids(tokenizer, "a"), token)


def special_texts(tokenizer: Tokenizer) -> tuple[str, ...]:
    """The texts the tokenizer reads as control tokens, longest first."""
    found: set[str] = set(getattr(tokenizer, "all_special_tokens", ()))
    added: dict[int, Any] = getattr(tokenizer, "added_tokens_decoder", {})
    found.update(token.content for token in added.values() if token.special)
    return tuple(sorted((text for text in found if len(text) > 1), key=lambda t: (-len(t), t)))


def defuse(text: str, specials: Iterable[str]) -> str:
    """The text with every control token in it broken by a space, so that it is read as text.

    Data must not be able to end a chat turn or open a new one.
    """
    for special in specials:
        if special in text:
            text = text.replace(special, f"{special[0]} {special[1:]}")
    return text


def chat_ids(tokenizer: Tokenizer, turns: Iterable[tuple[str, str]]) -> tuple[int, ...]:
    """Roles and texts in the tokenizer's chat template, up to where the answer begins.

    Special tokens in the texts are read as text.

    Raises:
        jinja2.TemplateError, TypeError, ValueError: the template rejects them.
    """
    specials = special_texts(tokenizer)
    told = [{"role": role, "content": defuse(text, specials)} for role, text in turns]
    text: Any = tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=True)
    return plain_ids(tokenizer, str(text))
