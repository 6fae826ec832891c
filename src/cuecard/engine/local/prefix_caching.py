"""Detect which prefixes the contexts of one prompt share: a template's text, a system message.

Two neighbours may share a prefix by chance. A prefix counts once three contexts in a row had it. A
few are kept per prompt, since one prompt, or none, may be asked in several templates by turns.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import takewhile

Ids = tuple[int, ...]

# One token is shared by chance too often.
_SHORTEST = 2
_DIGESTS, _KEPT = 4096, 16


@dataclass(slots=True)
class _Known:
    """What the last two contexts shared, the last one, and prefixes, the latest used at the end."""

    last: Ids = ()
    common: Ids = ()
    kept: list[Ids] = field(default_factory=list)


class PrefixDetector:
    """Per prompt, the prefixes that are worth caching."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def meet(self, digest: str, ids: Ids) -> Ids:
        """Learn from what a context has before its last token.

        Returns:
            The longest prefix of the ids that is or will be cached; empty for none.
        """
        known = self._known.setdefault(digest, _Known())
        self._known.move_to_end(digest)
        if len(self._known) > _DIGESTS:
            self._known.popitem(last=False)
        common = _common(known.last, ids)
        shared = _common(known.common, common)
        known.last, known.common = ids, common
        found = max((each for each in known.kept if ids[: len(each)] == each), key=len, default=())
        if len(shared) > max(len(found), _SHORTEST - 1):
            found = shared
        if found:
            known.kept = [*(each for each in known.kept if each != found), found][-_KEPT:]
        return found

    def forget(self, digest: str) -> None:
        """The prompt is no longer served."""
        self._known.pop(digest, None)


def _common(one: Ids, other: Ids) -> Ids:
    pairs = zip(one, other, strict=False)
    return tuple(a for a, b in takewhile(lambda pair: pair[0] == pair[1], pairs))
