"""Answers to an extraction prompt: read as GraphRAG reads them, with all that is wrong with them.

Two forms: GraphRAG's tuples, and JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from cuecard.graphrag.answers.faults import AnswerFault, ReadAnswer
from cuecard.graphrag.answers.json_form import json_of, read_json
from cuecard.graphrag.answers.tuples import read_tuples, tuples_of
from cuecard.graphrag.records import Extraction

__all__ = [
    "FORMS",
    "AnswerFault",
    "AnswerForm",
    "Form",
    "ReadAnswer",
    "json_of",
    "read_json",
    "read_tuples",
    "tuples_of",
    "tuples_of_json",
]

Form = Literal["tuples", "json"]


def tuples_of_json(text: str) -> str:
    """An answer in JSON in GraphRAG's own form, with all that could be read of it."""
    return tuples_of(read_json(text).extraction)


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How answers are written.

    Attributes:
        read: an answer and the types that entities may have -> what it says.
        write: the inverse.
    """

    read: Callable[[str, Collection[str]], ReadAnswer]
    write: Callable[[Extraction], str]


FORMS: Mapping[Form, AnswerForm] = MappingProxyType(
    {"tuples": AnswerForm(read_tuples, tuples_of), "json": AnswerForm(read_json, json_of)}
)
