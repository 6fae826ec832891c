"""Writes a text-to-text data set of extractions, from gold or from a stronger model's answers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.catalogue import Progress
from cuecard.errors import DataError
from cuecard.graphrag.answers import FORMS, ReadAnswer
from cuecard.graphrag.described import described as with_descriptions
from cuecard.graphrag.gold import GoldText, TextSet
from cuecard.graphrag.measuring.measure import measure_costs, measured
from cuecard.graphrag.measuring.settings import MeasureSettings
from cuecard.graphrag.measuring.signals import signals_of
from cuecard.graphrag.optimising.task import extraction_records
from cuecard.llms.prices import Price
from cuecard.plain_files import write_text
from cuecard.runs.folder import RunFolder
from cuecard.runs.graphrag.asking import sitting
from cuecard.runs.graphrag.dataset_recipe import DatasetRecipe
from cuecard.runs.graphrag.recipe import BUDGET
from cuecard.runs.llms import ChosenLLM, Engines, connect
from cuecard.search.budget import Amount
from cuecard.search.calls import Calls
from cuecard.search.candidate import digest
from cuecard.search.journal import FILE, Journal
from cuecard.training.storage.log import Observer
from cuecard.types import Record

DATA = "dataset.jsonl"


@dataclass(frozen=True)
class ExtractionDataset:
    """A data set that was written.

    Attributes:
        path: of the file: JSONL with `text`, `target` and `document`.
        rows: in it.
        left_out: why texts are not in it -> how many.
        spent: in all sittings.
    """

    path: Path
    rows: int
    left_out: dict[str, int]
    spent: Amount

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {
            "path": str(self.path),
            "rows": self.rows,
            "left_out": self.left_out,
            "spent": self.spent.priced(),
        }


def run_dataset(
    plan: DatasetRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> ExtractionDataset:
    """Write the data set; without gold, an LLM extracts, and answers with faults are left out.

    Raises:
        CuecardError: what cannot be read, a budget that does not last, no usable answer.
        Interrupted: Ctrl-C; what was answered is kept.
    """
    place = RunFolder.of(plan)
    place.check(plan, overwrite=overwrite)
    texts, tell = plan.read_texts(), observer or (lambda event: None)
    chosen = None if texts.labelled else _connected(plan, progress)
    with place.claimed(plan, overwrite=overwrite) as folder, sitting(place):
        left_out: Counter[str] = Counter()
        spent = Amount()
        if chosen is not None:
            answers, spent = asyncio.run(_asked(plan, texts, chosen, folder, tell))
            texts, left_out = usable(texts, answers)
        if not texts.texts:
            raise DataError(
                "no answer can be learnt from",
                where=str(folder),
                got="; ".join(f"{what} ({count})" for what, count in left_out.most_common(3)),
                expected="answers without faults, with names that stand in their texts",
                hint="a stronger model, or a prompt that `cuecard graphrag measure` finds better",
            )
        rows = [_row(each, described=plan.descriptions) for each in texts.texts]
        records = extraction_records(rows, FORMS[plan.target], texts.name)
        write_text("".join(map(_line, records)), folder / DATA)
    return ExtractionDataset(folder / DATA, len(records), dict(left_out), spent)


def plan_dataset(
    plan: DatasetRecipe, *, progress: Progress | None = None, overwrite: bool = False
) -> Amount:
    """What it would take at most; nothing is asked, and nothing written.

    Raises:
        CuecardError: what the run itself would refuse before its first call.
    """
    RunFolder.of(plan).check(plan, overwrite=overwrite)
    texts = plan.read_texts()
    if texts.labelled:
        return Amount()
    chosen = _connected(plan, progress)
    prompt, settings = plan.prompt_or_best(plan.prompt), _settings(plan, texts)

    async def costs() -> Amount:
        async with Engines() as engines:
            calls = Calls(Journal(None, ""), plan.limits)
            asker = await engines.asker(chosen, calls)
            return measure_costs([prompt], texts, settings, asker)[prompt.name]

    return asyncio.run(costs())


def usable(texts: TextSet, answers: tuple[ReadAnswer, ...]) -> tuple[TextSet, Counter[str]]:
    """Texts with their answers, without those that nothing should be learnt from, and why not."""
    kept: list[GoldText] = []
    left_out: Counter[str] = Counter()
    for text, answer in zip(texts.texts, answers, strict=True):
        signals = signals_of(answer, text.text)
        if answer.faults:
            left_out[answer.faults[0].what] += 1
        elif signals.empty:
            left_out["no entity"] += 1
        elif signals.grounded < signals.entities:
            left_out["a name that does not stand in the text"] += 1
        else:
            kept.append(GoldText(text.text, answer.extraction, text.row, text.document))
    return TextSet(texts.name, tuple(kept)), left_out


def _connected(plan: DatasetRecipe, progress: Progress | None) -> ChosenLLM:
    return connect(plan.needed_llm(), plan.limits, BUDGET, progress)


def _settings(plan: DatasetRecipe, texts: TextSet) -> MeasureSettings:
    return MeasureSettings(plan.entity_types(texts), max_tokens=plan.max_tokens)


async def _asked(
    plan: DatasetRecipe, texts: TextSet, chosen: ChosenLLM, folder: Path, tell: Observer
) -> tuple[tuple[ReadAnswer, ...], Amount]:
    about = digest(["graphrag dataset", chosen.identity])
    calls = Calls(Journal(folder / FILE, about), plan.limits)
    prompt, settings = plan.prompt_or_best(plan.prompt), _settings(plan, texts)
    async with Engines() as engines:
        asker, price = await engines.asker(chosen, calls), chosen.price or Price()
        found = await measured(prompt, texts, settings, asker, price, tell)
    return found.read, calls.ledger.spent


def _row(text: GoldText, *, described: bool) -> GoldText:
    return replace(text, extraction=with_descriptions(text.extraction)) if described else text


def _line(record: Record) -> str:
    row = {"text": record.text("text"), "target": record.target, "document": record.group}
    return json.dumps(row, ensure_ascii=False) + "\n"
