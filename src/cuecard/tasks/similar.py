"""Names that look alike: what was probably meant, and how two names differ that look the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

# Cyrillic and Greek letters that are drawn as Latin ones; a small part of Unicode's confusables
# (Unicode Technical Standard 39, section 4).
_SAME_SHAPE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04bb\u051b\u051d\u03bf\u03b1\u03bd\u03c1\u03b9",
    "aeopcyxijsdhqwoavpi",
)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """A hint that names the most similar of the names, or None where none is similar.

    Where the two look the same, the hint says what tells them apart.
    """
    others = [other for other in names if other != name]
    for other in others:
        if folded(other) == folded(name):
            return f"there is {shown(other)}: {difference(name, other)}"
    by_lower = {other.lower(): other for other in others}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean {shown(by_lower[close[0]])}?" if close else None


def nearest_beside(path: Path, *, folders_only: bool = False) -> str | None:
    """The hint for a path where nothing lies: the most similar name in its folder, if any."""
    there: list[str] = []
    with suppress(OSError):
        beside = [*path.parent.iterdir()]
        there = [other.name for other in beside if other.is_dir() or not folders_only]
    return nearest(path.name, there)


def folded(name: str) -> str:
    """A name without what the eye passes over: case, spaces, invisible characters, form."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(c for c in text if not (c.isspace() or _invisible(c) or c in "_-"))


def look_alikes(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that look the same, letters of other alphabets counted in, in their order."""
    first: dict[str, str] = {}
    pairs = []
    for name in names:
        earlier = first.setdefault(folded(name).translate(_SAME_SHAPE), name)
        if earlier != name:
            pairs.append((earlier, name))
    return pairs


def look_alikes_told(pairs: Iterable[tuple[str, str]]) -> str:
    """Such pairs, and what tells the names of each apart."""
    return "; ".join(f"{shown(a)} and {shown(b)} ({difference(a, b)})" for a, b in pairs)


def difference(one: str, other: str) -> str:
    """What tells two names apart that have the same `folded` form, in words."""
    steps = (
        ("its Unicode form differs (NFC and NFD)", lambda t: unicodedata.normalize("NFC", t)),
        ("one has invisible characters", lambda t: "".join(c for c in t if not _invisible(c))),
        ("spaces differ", lambda t: "".join(t.split())),
        ("upper and lower case differ", str.casefold),
        ("one has letters of another alphabet", lambda t: t.translate(_SAME_SHAPE)),
        ("underscores or hyphens differ", lambda t: t.replace("_", "").replace("-", "")),
    )
    found: list[str] = []
    for words, plainer in steps:
        before = one == other
        changed = plainer(one) != one or plainer(other) != other
        closer = plainer(one), plainer(other)
        if not before and changed and _nearer((one, other), closer):
            found.append(words)
        one, other = closer
    return " and ".join(found) or "some of its characters are written otherwise"


def _nearer(before: tuple[str, str], after: tuple[str, str]) -> bool:
    """Whether a step took away some of what two texts differ in."""
    return _unlike(*after) < _unlike(*before)


def _unlike(one: str, other: str) -> int:
    longest = max(len(one), len(other))
    return sum(one[i : i + 1] != other[i : i + 1] for i in range(longest))


def _invisible(char: str) -> bool:
    return unicodedata.category(char) in ("Cf", "Cc") and not char.isspace()


def shown(name: str) -> str:
    """A name in quotes; in escapes where it has characters that cannot be seen."""
    hidden = any(_invisible(c) or unicodedata.combining(c) or ord(c) in _SAME_SHAPE for c in name)
    return ascii(name) if hidden else repr(name)
