"""Entities that BIO tags mark, by the rules of CoNLL's own scorer.

Tjong Kim Sang & De Meulder 2003 (arXiv:cs/0306050): an entity is right where its words and its type
are. `conlleval` reads what is not well-formed too: an inside tag begins an entity where none of its
type goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

Entity = tuple[str, int, int]


def entities(tags: Sequence[str]) -> set[Entity]:
    """(type, first word, last word) of every entity; tags as B-TYPE, I-TYPE and O.

    Also E- and S- of the BIOES scheme. A tag without a dash is a type of its own that goes on.
    """
    found: set[Entity] = set()
    kind, start, ended = "", 0, True
    for place, tag in enumerate([*tags, "O"]):
        mark, dash, name = tag.partition("-")
        if not dash:
            mark, name = ("O", "") if tag == "O" else ("I", tag)
        goes_on = mark in ("I", "E") and name == kind and not ended
        if kind and not goes_on:
            found.add((kind, start, place - 1))
        if not goes_on:
            kind, start = ("" if mark == "O" else name), place
        ended = mark in ("E", "S") or mark == "O"
    return found
