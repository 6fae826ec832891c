"""Control characters in a user's text, shown instead of obeyed by the terminal."""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    """A text in which control characters are seen instead of obeyed by the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or not _controls(c) else repr(c)[1:-1] for c in text)


def _controls(char: str) -> bool:
    """Whether a terminal obeys a character, or writes the others in another order for it."""
    return unicodedata.category(char) == "Cc" or unicodedata.bidirectional(char) in _TURNING


_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
