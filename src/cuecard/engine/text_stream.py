"""Tokens in, text out, as soon as it is certain."""

from __future__ import annotations

from collections.abc import Sequence

from cuecard.types import Tokenizer

_HALF = "\ufffd"
"""What a tokenizer makes of bytes that are no character yet."""


class TextStream:
    """The text of an answer while its tokens come.

    Args:
        tokenizer: the backbone's.
        stops: texts that end the answer; none of them is handed out.
        strip: leave out space around the answer, as `cuecard.answer` does.
    """

    def __init__(
        self, tokenizer: Tokenizer, stops: Sequence[str] = (), strip: bool = False
    ) -> None:
        self.stopped = False
        self._tokenizer = tokenizer
        self._stops = tuple(stops)
        self._strip = strip
        self._started = not strip
        self._ids: list[int] = []
        # Tokens before `_done` are text already; those before `_from` are of no influence any more.
        self._from = self._done = 0
        self._held = ""

    def add(self, token: int) -> str:
        """What one more token makes certain."""
        self._ids.append(token)
        before = self._decode(self._from, self._done)
        now = self._decode(self._from, len(self._ids))
        if len(now) <= len(before) or now.endswith(_HALF):
            return ""
        self._from, self._done = self._done, len(self._ids)
        return self._release(now[len(before) :], last=False)

    def end(self) -> str:
        """What is left when no more tokens come."""
        before = self._decode(self._from, self._done)
        rest = self._decode(self._from, len(self._ids))[len(before) :]
        self._from = self._done = len(self._ids)
        return self._release(rest, last=True)

    def _decode(self, start: int, end: int) -> str:
        return str(self._tokenizer.decode(self._ids[start:end], skip_special_tokens=True))

    def _release(self, text: str, last: bool) -> str:
        if self.stopped:
            return ""
        held = self._held + text
        if not self._started:
            held = held.lstrip()
            self._started = bool(held)
        found = [at for stop in self._stops if (at := held.find(stop)) >= 0]
        if found:
            self.stopped, last = True, True
            held = held[: min(found)]
        certain = len(held) if last else len(held) - self._uncertain(held)
        ready, self._held = held[:certain], held[certain:]
        if self._strip:
            kept = ready.rstrip()
            if last:
                return kept
            self._held = ready[len(kept) :] + self._held
            return kept
        return ready

    def _uncertain(self, text: str) -> int:
        """The length of the longest end of the text that may begin a stop."""
        longest = max(map(len, self._stops), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self._stops):
                return size
        return 0
