"""One field's tokens with their places in its text: for tasks that read a state per token."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cuecard.errors import DataError
from cuecard.tasks.encoding.encoder import Around
from cuecard.tasks.encoding.tokens import plain_ids
from cuecard.types import Encoded, Tokenizer

# Tokens that two windows of a long text share, so that an answer is whole in one of them.
OVERLAP = 128


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text's tokens.

    Attributes:
        ids: the tokens.
        starts, ends: each one's first character, and the one after its last, in the text.
    """

    ids: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def cover(self, start: int, end: int) -> tuple[int, int]:
        """The first and the last token of the characters from start to end."""
        return bisect_right(self.ends, start), bisect_left(self.starts, end) - 1


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a long text in its template.

    Attributes:
        encoded: the row.
        first: the part's first token among the text's.
        count: its tokens.
    """

    encoded: Encoded
    first: int
    count: int


def tokens_of(tokenizer: Tokenizer, around: Around) -> Tokens:
    """The field's tokens as they are after what comes before them."""
    text = around.text
    anchor = ":" if around.space else "\n"
    head = plain_ids(tokenizer, anchor)
    found = _with_places(tokenizer, anchor + text)
    skipped, shift = len(head), len(anchor) + around.space
    if tuple(found["input_ids"][: len(head)]) != head:
        found = _with_places(tokenizer, text)
        skipped, shift = 0, around.space
    places = found["offset_mapping"][skipped:]
    return Tokens(
        ids=tuple(found["input_ids"][skipped:]),
        starts=tuple(max(start - shift, 0) for start, _ in places),
        ends=tuple(max(end - shift, 0) for _, end in places),
    )


def room_for(around: Around, max_length: int, where: str | None) -> int:
    """The tokens that a field may have.

    Raises:
        DataError: none, since what is around it fills the length.
    """
    room = max_length - len(around.before) - len(around.after)
    if room < 1:
        raise DataError(
            "the template leaves no room for the text",
            where=where,
            got=f"{max_length - room} tokens",
            expected=f"fewer than max_length, {max_length}",
        )
    return room


def word_row(
    around: Around, tokens: Tokens, words: Sequence[int], room: int, *, last: bool
) -> Encoded:
    """A row that reads one token of each word: its first, or its last.

    Args:
        words: their lengths in characters; a space parts any two. Those that are cut away are not
            read.
        room: how many tokens are kept.
    """
    at, start = [], 0
    for length in words:
        first, final = tokens.cover(start, start + length)
        # Of a word that the tokenizer drops, what stands next.
        if last and first < room:
            first = min(max(first, final), room - 1)
        place = first
        if place < min(room, len(tokens.ids)):
            at.append(len(around.before) + place)
        start += length + 1
    context = (*around.before, *tokens.ids[:room], *around.after)
    return Encoded(context, (), cut=max(0, len(tokens.ids) - room), at=tuple(at))


def windows_of(around: Around, tokens: Tokens, room: int) -> list[Window]:
    """Windows over a text, each with what is around it whole.

    Each reads its part's tokens, then the context's last token, which stands for "not here".
    """
    step = room - min(OVERLAP, room // 2)
    windows = []
    for first in range(0, max(1, len(tokens.ids)), step):
        part = tokens.ids[first : first + room]
        context = (*around.before, *part, *around.after)
        places = range(len(around.before), len(around.before) + len(part))
        encoded = Encoded(context, (), at=(*places, len(context) - 1))
        windows.append(Window(encoded, first, len(part)))
        if first + room >= len(tokens.ids):
            break
    return windows


def span_goal(window: Window, span: tuple[int, int]) -> tuple[float, float]:
    """Which of a window's reads begin and end a span of the text; the last if it is not here."""
    start, end = (place - window.first for place in span)
    if start < 0 or end >= window.count or end < start:
        return float(window.count), float(window.count)
    return float(start), float(end)


def _with_places(tokenizer: Tokenizer, text: str) -> Any:
    return tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
