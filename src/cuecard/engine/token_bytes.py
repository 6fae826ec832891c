"""The bytes that a token stands for, also where they are only part of a character."""

from __future__ import annotations

import re
from functools import lru_cache

from cuecard.types import Tokenizer

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # sentencepiece's byte fallback


def token_bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """A token's bytes; joined over tokens they are the text's UTF-8.

    A token of byte-level BPE may hold part of a character, which decoding replaces by U+FFFD. Its
    bytes are then read off its name: in GPT-2's alphabet, or as sentencepiece's `<0xE2>`.
    """
    text = str(tokenizer.decode([token]))
    if "\ufffd" in text:
        name = str(tokenizer.convert_ids_to_tokens(token))
        if found := _BYTE.fullmatch(name):
            return bytes([int(found[1], 16)])
        alphabet = _alphabet()
        if all(character in alphabet for character in name):
            return bytes(alphabet[character] for character in name)
    return text.encode("utf-8")


@lru_cache(maxsize=1)
def _alphabet() -> dict[str, int]:
    """GPT-2's character of each byte: printable ones as they are, the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    found = {chr(byte): byte for byte in printable}
    return found | {chr(0x100 + index): byte for index, byte in enumerate(others)}
