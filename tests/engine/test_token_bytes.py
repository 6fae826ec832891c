"""Bytes of tokens, against the tokenizers' own decoding of whole texts."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from cuecard.engine.token_bytes import token_bytes

TEXT = "naïve 🦊 \u00ad né à Zürich\n\t日本"


def byte_level() -> PreTrainedTokenizerFast:
    """Every byte is a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({name: i for i, name in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made)


def byte_fallback() -> PreTrainedTokenizerFast:
    """Letters are tokens; what has none is said in bytes."""
    names = [f"<0x{byte:02X}>" for byte in range(256)] + list("abcdefghijklmnopqrstuvwxyz ")
    made = Tokenizer(models.BPE({n: i for i, n in enumerate(names)}, [], byte_fallback=True))
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=made)


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
def test_joined_they_are_the_text(make: object) -> None:
    tokenizer = make()  # type: ignore[operator]
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert len(ids) > len(TEXT)  # some characters are in several tokens
    assert b"".join(token_bytes(tokenizer, i) for i in ids) == TEXT.encode()
