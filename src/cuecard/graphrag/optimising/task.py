"""Texts as a text-to-text task, for searchers and for `cuecard train`."""

from __future__ import annotations

from collections.abc import Sequence

from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.graphrag.answers import AnswerForm
from cuecard.graphrag.gold import GoldText, TextSet
from cuecard.graphrag.optimising.layout import PromptLayout
from cuecard.search.candidate import AS_IT_WAS, PromptCandidate
from cuecard.tasks import Task, TaskSpec
from cuecard.tasks.splits import Fractions
from cuecard.types import Record

TEMPLATE = "Text: {text}\nAnswer:"
"""How a text stands in what is told of the task; prompts have their own place for it."""


def extraction_records(texts: Sequence[GoldText], form: AnswerForm, source: str) -> list[Record]:
    """Texts with the right answers as targets; those of one document stay in one split."""
    return [
        Record({"text": each.text}, form.write(each.extraction), source, each.row, each.document)
        for each in texts
    ]


def extraction_task(
    texts: TextSet, layout: PromptLayout, *, seed: int, split: Fractions, max_tokens: int
) -> Task:
    """The task of finding what is in texts, its documents parted into three.

    Raises:
        DataError: too few documents.
    """
    spec = TaskSpec.parse(
        {
            "kind": "text-to-text",
            "template": TEMPLATE,
            "target_field": "target",
            "max_new_tokens": max_tokens,
        }
    )
    records = extraction_records(texts.texts, layout.prompt.answers, texts.name)
    return Task.from_records(spec, records, seed=seed, split=split)


def start_of(layout: PromptLayout) -> PromptCandidate:
    """The prompt as it is, as a candidate."""
    said = layout.instruction.strip()
    prompt = ManualPrompt("start", TEMPLATE, f"{said}\n\n" if said else "")
    return PromptCandidate(prompt, AS_IT_WAS)
