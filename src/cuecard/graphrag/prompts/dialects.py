"""Whose prompts are written: GraphRAG's of today or before, LightRAG's, or plain text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from cuecard.errors import ConfigError
from cuecard.graphrag.prompts import lightrag
from cuecard.graphrag.prompts.extraction import (
    JSON,
    OLD_TUPLES,
    PLAIN_JSON,
    PLAIN_TUPLES,
    TUPLES,
    ExtractionForm,
    fitted,
)
from cuecard.graphrag.prompts.reports import report_prompt, summary_prompt
from cuecard.graphrag.prompts.slots import (
    EXTRACTION,
    GRAPHRAG_2,
    GRAPHRAG_3,
    REPORT,
    SUMMARY,
    PromptSlot,
    faults_in,
)
from cuecard.graphrag.prompts.sources import PromptSources


@dataclass(frozen=True, slots=True)
class PromptLimits:
    """How large prompts may be, and for whom they are.

    Attributes:
        most: tokens of the prompt that finds entities.
        count: a text's tokens.
        weak: for a model that does not keep to GraphRAG's form: a short prompt that asks for JSON.
    """

    most: int
    count: Callable[[str], int]
    weak: bool = False


@dataclass(frozen=True)
class WrittenPrompts:
    """Files of prompts.

    Attributes:
        files: name -> content.
        examples: how many had room.
        settings: "section.key" of GraphRAG 3's settings -> the file that it should name.
    """

    files: Mapping[str, str]
    examples: int
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dialect:
    """A program that prompts are written for.

    Attributes:
        about: for the help.
        make: makes the files.
        slots: what its prompts must be like; none where nothing formats them.
        in_json: whether answers may be in JSON, as weak models are asked for.
    """

    about: str
    make: Callable[[PromptSources, PromptLimits], WrittenPrompts]
    slots: tuple[PromptSlot, ...] = ()
    in_json: bool = True

    def check(self, *, weak: bool) -> None:
        """Refuse prompts for weak models where answers have one form alone.

        Raises:
            ConfigError: so it is.
        """
        if weak and not self.in_json:
            raise ConfigError(
                f"{self.about} reads one form of answers alone",
                where="--weak",
                expected="a dialect that has answers in JSON: "
                + ", ".join(name for name, each in DIALECTS.items() if each.in_json),
            )

    def write(self, sources: PromptSources, limits: PromptLimits) -> WrittenPrompts:
        """The files of prompts.

        Raises:
            ConfigError: as `check`.
        """
        self.check(weak=limits.weak)
        return self.make(sources, limits)


WEAK_FILE = "extract_graph_json.txt"
"""Not the usual name: GraphRAG reads tuples, into which answers in JSON have to be converted."""


def _graphrag(
    sources: PromptSources,
    limits: PromptLimits,
    tuples: ExtractionForm,
    slots: tuple[PromptSlot, ...],
    *,
    limited: bool,
) -> WrittenPrompts:
    extraction = fitted(JSON if limits.weak else tuples, sources, limits.most, limits.count)
    files = {
        WEAK_FILE if limits.weak else EXTRACTION.file: extraction.text,
        SUMMARY.file: summary_prompt(sources.profile, limited=limited),
        REPORT.file: report_prompt(sources.profile, limited=limited),
    }
    for slot in slots:
        if slot.file in files and (faults := faults_in(files[slot.file], slot)):
            raise AssertionError(f"{slot.file}: {faults}")  # of our own prompts
    return WrittenPrompts(files, extraction.examples)


def _today(sources: PromptSources, limits: PromptLimits) -> WrittenPrompts:
    found = _graphrag(sources, limits, TUPLES, GRAPHRAG_3, limited=True)
    named = (SUMMARY, REPORT) if limits.weak else (EXTRACTION, SUMMARY, REPORT)
    return replace(found, settings={slot.name: slot.file for slot in named})


def _before(sources: PromptSources, limits: PromptLimits) -> WrittenPrompts:
    # Their reports and summaries were not always given a length, and a placeholder that is not
    # filled ends the index run.
    return _graphrag(sources, limits, OLD_TUPLES, GRAPHRAG_2, limited=False)


def _lightrag(sources: PromptSources, limits: PromptLimits) -> WrittenPrompts:
    content = lightrag.lightrag_prompts(sources)
    lightrag.dry_format(content)
    return WrittenPrompts({lightrag.FILE: content}, len(sources.examples))


def _text(sources: PromptSources, limits: PromptLimits) -> WrittenPrompts:
    form = PLAIN_JSON if limits.weak else PLAIN_TUPLES
    found = fitted(form, sources, limits.most, limits.count)
    text = found.text.removesuffix("\n# Output\n")
    return WrittenPrompts({"extract.txt": text}, found.examples)


DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "graphrag": Dialect("GraphRAG 3", _today, GRAPHRAG_3),
        "graphrag-2": Dialect("GraphRAG 0.3 to 2", _before, GRAPHRAG_2),
        "lightrag": Dialect("LightRAG 1.4.8 and later", _lightrag, in_json=False),
        "text": Dialect("plain text, which the text that is read follows", _text),
    }
)
