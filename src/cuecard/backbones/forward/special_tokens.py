"""The special tokens around a text in an encoder-decoder's two inputs."""

from __future__ import annotations

from typing import Any

from cuecard.errors import BackboneError
from cuecard.types import Tokenizer


def special_tokens_around(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids the tokenizer itself puts before and after every text."""
    alone = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    usual = list(tokenizer("a")["input_ids"])
    starts = range(len(usual) - len(alone) + 1)
    at = next((at for at in starts if usual[at : at + len(alone)] == alone), None)
    if at is None:
        return (), ()
    return tuple(usual[:at]), tuple(usual[at + len(alone) :])


def decoder_start(model: Any, before: tuple[int, ...], name: str) -> tuple[int, ...]:
    """What the decoder is given before the first token of an answer.

    That is the start token, then what the model is made to say first: a language in mBART, the
    tokenizer's own begin token in BART, nothing in T5 and Marian.
    """
    start = _setting(model, "decoder_start_token_id")
    if start is None:
        raise BackboneError(
            "the model does not say what its decoder begins with",
            where=name,
            got="no decoder_start_token_id",
            expected="one in generation_config.json or config.json",
        )
    forced = _setting(model, "forced_bos_token_id")
    return (int(start), *(before if forced is None else (int(forced),)))


def _setting(model: Any, name: str) -> Any:
    for config in (getattr(model, "generation_config", None), model.config):
        value = getattr(config, name, None)
        if value is not None:
            return value
    return None
