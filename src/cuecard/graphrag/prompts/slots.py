"""The prompts of a GraphRAG project: where its settings name them, and what is put into them.

A prompt is formatted here exactly as GraphRAG formats it (`GraphExtractor._process_document`,
`SummarizeExtractor`, `CommunityReportsExtractor` of 3.1), so that what would stop an index run
after hours, or be passed over in it, is found before.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from cuecard.graphrag.answers.tuples import COMPLETE, FIELD, RECORD

_PROBE = 'A text with {braces}, ("entity"<|>NAME) and ## marks.'


@dataclass(frozen=True, slots=True)
class PromptSlot:
    """A prompt that GraphRAG reads.

    Attributes:
        section, key: where the settings name its file.
        file: what the file is usually called.
        needed: placeholders without which GraphRAG would ask for nothing in particular.
        allowed: others that it fills.
        marks: what answers are parted by: the prompt has to show it.
        formerly: whether only older settings name it so.
    """

    section: str
    key: str
    file: str
    needed: tuple[str, ...]
    allowed: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    formerly: bool = False

    @property
    def name(self) -> str:
        """As settings have it."""
        return f"{self.section}.{self.key}"


EXTRACTION = PromptSlot(
    "extract_graph",
    "prompt",
    "extract_graph.txt",
    ("input_text",),
    ("entity_types",),
    (FIELD, RECORD, COMPLETE),
)
SUMMARY = PromptSlot(
    "summarize_descriptions",
    "prompt",
    "summarize_descriptions.txt",
    ("entity_name", "description_list"),
    ("max_length",),
)
REPORT = PromptSlot(
    "community_reports",
    "graph_prompt",
    "community_report_graph.txt",
    ("input_text",),
    ("max_report_length",),
)
REPORT_OF_TEXTS = replace(REPORT, key="text_prompt", file="community_report_text.txt")
CLAIMS = PromptSlot(
    "extract_claims",
    "prompt",
    "extract_claims.txt",
    ("input_text",),
    ("entity_specs", "claim_description"),
)

GRAPHRAG_3 = (EXTRACTION, SUMMARY, REPORT, REPORT_OF_TEXTS, CLAIMS)
_DELIMITERS: Mapping[str, str] = MappingProxyType(
    {"tuple_delimiter": FIELD, "record_delimiter": RECORD, "completion_delimiter": COMPLETE}
)
_FORMER = (
    *GRAPHRAG_3,
    replace(EXTRACTION, section="entity_extraction", file="entity_extraction.txt", formerly=True),
    replace(REPORT, key="prompt", file="community_report.txt", formerly=True),
    replace(CLAIMS, section="claim_extraction", file="claim_extraction.txt", formerly=True),
)
GRAPHRAG_2 = tuple(
    replace(slot, allowed=(*slot.allowed, *_DELIMITERS)) if "input_text" in slot.needed else slot
    for slot in _FORMER
)
"""Of versions 0.3 to 2, whose delimiters are settings."""


def faults_in(prompt: str, slot: PromptSlot) -> list[str]:
    """What is wrong with a prompt, in words; nothing in one that GraphRAG can use."""
    if not prompt.strip():
        return ["it is empty"]
    known = {*slot.needed, *slot.allowed}
    try:
        parts = list(string.Formatter().parse(prompt))
    except ValueError as error:
        place = _line_of_brace(prompt)
        return [f"a brace that is not doubled, in line {place}: {str(error).lower()}"]
    faults, used = [], set()
    line = 1
    for text, name, form, conversion in parts:
        line += text.count("\n")
        if name is None:
            continue
        used.add(name)
        shown = "{" + name + (f":{form}" if form else "") + "}"
        if name not in known:
            faults.append(f"{_shortened(shown)} in line {line} is no placeholder: {_hint(name)}")
        elif form or conversion:
            faults.append(f"{_shortened(shown)} in line {line} asks for a format of its own")
        line += name.count("\n") + (form or "").count("\n")
    faults += [f"the placeholder {{{name}}} is missing" for name in slot.needed if name not in used]
    return faults or _faults_when_filled(prompt, slot)


def _faults_when_filled(prompt: str, slot: PromptSlot) -> list[str]:
    """Format a prompt as GraphRAG does, and look for what it puts in and what answers need."""
    names = (*slot.needed, *slot.allowed)
    marks = {name: mark for name, mark in _DELIMITERS.items() if name in names}
    try:
        shown, found = (
            prompt.format(**dict.fromkeys(names, value) | marks) for value in ("", _PROBE)
        )
    except (KeyError, ValueError, IndexError) as error:
        return [f"GraphRAG cannot fill it: {type(error).__name__}: {error}"]
    faults = [f"it does not show the delimiter {mark}" for mark in slot.marks if mark not in shown]
    if _PROBE not in found:
        faults.append("the text does not arrive in it")
    return faults


def _line_of_brace(prompt: str) -> int:
    """The line of the first brace that neither is doubled nor has another that closes it."""
    place, opened = 0, list[int]()
    while place < len(prompt):
        if not opened and prompt[place : place + 2] in ("{{", "}}"):
            place += 1
        elif prompt[place] == "{":
            opened.append(place)
        elif prompt[place] == "}":
            if not opened:
                opened = [place]
                break
            opened.pop()
        place += 1
    return prompt.count("\n", 0, opened[0] if opened else 0) + 1


def _hint(name: str) -> str:
    if name in _DELIMITERS:
        return "GraphRAG 3 has its delimiters in the text itself"
    return "write {{ and }} for braces of the text"


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else f"{text[:37]}..."
