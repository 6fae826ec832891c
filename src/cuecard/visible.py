"""A user's text where it is shown: no control character is obeyed, and a long one is cut."""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    """A text in which control characters, and halves of characters, are seen and not obeyed."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or not _controls(c) else repr(c)[1:-1] for c in text)


def cut(text: str, most: int) -> str:
    """A text of at most so many characters; the last one tells where there were more."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def inert(cell: object) -> object:
    """A cell of a CSV file; what a spreadsheet would run as a formula begins with an apostrophe."""
    risky = isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{cell}" if risky else cell


def _controls(char: str) -> bool:
    """Whether a terminal obeys a character, writes the others in another order for it, or has none.

    Half a character, as file names that are not UTF-8 have it, cannot be written at all.
    """
    category = unicodedata.category(char)
    return category in ("Cc", "Cs") or unicodedata.bidirectional(char) in _TURNING


_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
