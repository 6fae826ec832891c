"""Detect which prefix the contexts of one prompt share: a template's text, a system message.

Two neighbours may share a prefix by chance. A prefix counts once three contexts in a row had it; it
gives way once three in a row do not.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import takewhile

Ids = tuple[int, ...]

# One token is shared by chance too often.
_SHORTEST = 2
_IN_A_ROW = 2
_DIGESTS = 4096


@dataclass(slots=True)
class _Known:
    last: Ids = ()
    common: Ids = ()
    times: int = 0
    kept: Ids = ()
    missed: int = 0


class PrefixDetector:
    """Per prompt, the prefix that is worth caching."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def meet(self, digest: str, ids: Ids) -> Ids:
        """Learn from what a context has before its last token.

        Returns:
            The prefix of the ids that is or will be cached; empty for none.
        """
        known = self._known.setdefault(digest, _Known())
        self._known.move_to_end(digest)
        if len(self._known) > _DIGESTS:
            self._known.popitem(last=False)
        common = _common(known.last, ids)
        known.last = ids
        shared = _common(known.common, common) if known.times else common
        if len(shared) >= _SHORTEST:
            known.common, known.times = shared, known.times + 1
        else:
            known.common, known.times = common, int(len(common) >= _SHORTEST)
        fits = bool(known.kept) and ids[: len(known.kept)] == known.kept
        known.missed = 0 if fits else known.missed + 1
        longer = len(known.common) > len(known.kept) or known.missed > _IN_A_ROW
        if known.times >= _IN_A_ROW and longer:
            known.kept, known.times, known.missed = known.common, 0, 0
            fits = ids[: len(known.kept)] == known.kept
        return known.kept if fits else ()

    def forget(self, digest: str) -> None:
        """The prompt is no longer served."""
        self._known.pop(digest, None)


def _common(one: Ids, other: Ids) -> Ids:
    pairs = zip(one, other, strict=False)
    return tuple(a for a, b in takewhile(lambda pair: pair[0] == pair[1], pairs))
