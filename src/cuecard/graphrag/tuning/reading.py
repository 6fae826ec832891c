"""Answers of an LLM, read strictly: what cannot be used is said, for the LLM and for the report."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cuecard.graphrag.answers import read_json
from cuecard.graphrag.answers.faults import type_key
from cuecard.graphrag.answers.json_form import unfenced
from cuecard.graphrag.measuring.matching import within, words_of
from cuecard.graphrag.prompts.filling import lined
from cuecard.graphrag.prompts.sources import CorpusProfile
from cuecard.graphrag.records import Entity, Extraction, Relation

_THOUGHTS = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_CLOSING = {"{": "}", "[": "]"}

LONGEST = {"domain": 200, "language": 40, "persona": 1200, "role": 600, "rating": 1200}
LONGEST_TYPE = 40
"""Characters of a profile's texts, and of a type's name."""

_VAGUE = {"other", "others", "unknown", "misc", "miscellaneous", "thing", "entity", "n/a", "none"}


class UnreadableAnswer(Exception):  # noqa: N818 - said of an answer, which is asked for again
    """Why an answer cannot be used, in a sentence that its LLM is told too."""


def read_profile(answer: str) -> CorpusProfile:
    """What the corpus is.

    Raises:
        UnreadableAnswer: no object with all its texts.
    """
    found = _object(answer)
    values = {}
    for name, most in LONGEST.items():
        value = found.get(name)
        if not isinstance(value, str) or not value.strip():
            raise UnreadableAnswer(f'"{name}" is missing or is not a text.')
        if len(value) > most:
            raise UnreadableAnswer(f'"{name}" is longer than {most} characters.')
        values[name] = lined(value)
    return CorpusProfile(**values)


def read_types(answer: str, least: int = 1) -> list[str]:
    """Types of entities, in the order of the answer.

    Args:
        least: different types; small models name the domain alone.

    Raises:
        UnreadableAnswer: no list of types, or too few.
    """
    found = _object(answer).get("entity_types")
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise UnreadableAnswer('"entity_types" is missing or is not a list of texts.')
    types = [name for each in found if (name := cleaned_type(each))]
    if len(set(types)) < least:
        raise UnreadableAnswer(f"It names too few types that say something: {sorted(set(types))}.")
    long = next((each for each in types if len(each) > LONGEST_TYPE), None)
    if long is not None:
        raise UnreadableAnswer(f"{long[:LONGEST_TYPE]!r}... is not the name of a type.")
    return types


def cleaned_type(name: str) -> str:
    """A type's name in one form; "" for one that says nothing."""
    plain = type_key(re.sub(r"[^\w\s&/-]", " ", name))
    return "" if plain in _VAGUE else plain


@dataclass(frozen=True, slots=True)
class ReadExample:
    """What was found in a text.

    Attributes:
        notes: what is wrong with the answer beside it, and what of it is left out, in words.
    """

    extraction: Extraction
    notes: tuple[str, ...]


def read_example(answer: str, text: str, types: tuple[str, ...]) -> ReadExample:
    """What is in a text: entities of these types whose names stand in it, and their relations.

    Raises:
        UnreadableAnswer: not the form, or no such entity.
    """
    read = read_json(_whole(answer), types)
    whole = [fault for fault in read.faults if fault.record == 0]
    if whole:
        raise UnreadableAnswer(f"It is not in the form: {whole[0].what}.")
    known = {type_key(each): each for each in types}
    words = words_of(text)
    entities: dict[str, Entity] = {}
    form = [str(fault) for fault in read.faults if _is_of_form(fault.what)]
    dropped: list[str] = []
    for each in read.extraction.entities:
        kind = known.get(type_key(each.type))
        if kind is None:
            dropped.append(f"{each.name!r} is of no given type: {each.type!r}")
        elif not within(words_of(each.name), words):
            dropped.append(f"{each.name!r} is not in the text")
        else:
            entities.setdefault(each.name.casefold(), Entity(each.name, kind, each.description))
    if not entities:
        why = f" {dropped[0]}." if dropped else ""
        raise UnreadableAnswer(f"No entity of a given type that stands in the text.{why}")
    relations: dict[tuple[str, str], Relation] = {}
    for one in read.extraction.relations:
        pair = one.source.casefold(), one.target.casefold()
        if entities.keys() >= set(pair):
            # A small model that goes round in circles must not teach it.
            relations.setdefault(pair, one)
        else:
            dropped.append(f"{one.source!r} and {one.target!r} are not both among the entities")
    notes = (*form, *(f"left out: {what}" for what in _counted(dropped)))
    return ReadExample(Extraction(tuple(entities.values()), tuple(relations.values())), notes)


def _counted(notes: Iterable[str]) -> list[str]:
    """Each once, with how often where that is more than once."""
    return [f"{what} ({n} times)" if n > 1 else what for what, n in Counter(notes).items()]


def _is_of_form(what: str) -> bool:
    """Faults of single records that are not told below."""
    return "unknown type" not in what and "entity that is not there" not in what


def _object(answer: str) -> dict[str, Any]:
    """The JSON object that an answer is, within a code fence or not."""
    try:
        found = json.loads(_whole(answer))
    except (ValueError, RecursionError):
        raise UnreadableAnswer("It is not one JSON object and nothing else.") from None
    if not isinstance(found, dict):
        raise UnreadableAnswer("It is not a JSON object.")
    return found


def _whole(answer: str) -> str:
    """The JSON of an answer, with the brackets closed that a small model forgets at its end."""
    text = unfenced(_THOUGHTS.sub("", answer).strip())
    open_ones: list[str] = []
    for sign in _STRING.sub("", text):
        if sign in _CLOSING:
            open_ones.append(_CLOSING[sign])
        elif open_ones and sign == open_ones[-1]:
            open_ones.pop()
    return text + "".join(reversed(open_ones))
