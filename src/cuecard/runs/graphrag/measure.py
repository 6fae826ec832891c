"""Measures a project's prompts, generic ones and trained ones on the same texts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cuecard.artifacts.bound_prompt import BoundPrompt
from cuecard.catalogue import Progress
from cuecard.errors import ConfigError
from cuecard.evaluation.report import write_json
from cuecard.graphrag.gold import TextSet
from cuecard.graphrag.measuring.measure import (
    MeasureReport,
    PromptMeasure,
    measure_costs,
    measured,
)
from cuecard.graphrag.measuring.prompts import ExtractionPrompt
from cuecard.graphrag.measuring.settings import MeasureSettings
from cuecard.llms.prices import Price
from cuecard.runs.folder import RunFolder
from cuecard.runs.graphrag.asking import sitting
from cuecard.runs.graphrag.measure_recipe import MeasureRecipe
from cuecard.runs.graphrag.recipe import BUDGET
from cuecard.runs.graphrag.trained import (
    cost_of_trained,
    form_of,
    load_trained,
    trained_answers,
)
from cuecard.runs.llms import ChosenLLM, Engines, connect
from cuecard.search.budget import Amount
from cuecard.search.calls import Calls
from cuecard.search.candidate import digest
from cuecard.search.journal import FILE, Journal
from cuecard.training.storage.log import Observer

JSON = "measure.json"


@dataclass(frozen=True)
class _SetUp:
    """All that is read and loaded before anything is asked."""

    texts: TextSet
    settings: MeasureSettings
    prompts: list[ExtractionPrompt]
    trained: Mapping[str, BoundPrompt]
    chosen: ChosenLLM | None


def run_measure(
    plan: MeasureRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> MeasureReport:
    """Measure prompts; the folder holds the journal and `measure.json`.

    What was answered in the folder before is not asked again.

    Raises:
        CuecardError: what cannot be read or loaded, a budget that does not last, an LLM that does
            not answer.
        Interrupted: Ctrl-C; what was answered is kept.
    """
    place = RunFolder.of(plan)
    place.check(plan, overwrite=overwrite)
    made = _set_up(plan, progress)
    with place.claimed(plan, overwrite=overwrite) as folder, sitting(place):
        report = asyncio.run(_measured(plan, made, folder, observer or (lambda event: None)))
        write_json(report.to_dict(), folder / JSON)
    return report


def plan_measure(
    plan: MeasureRecipe, *, progress: Progress | None = None, overwrite: bool = False
) -> dict[str, Amount]:
    """What each prompt would take at most; nothing is asked, and nothing written.

    Raises:
        CuecardError: what the measurement itself would refuse before its first call.
    """
    RunFolder.of(plan).check(plan, overwrite=overwrite)
    made = _set_up(plan, progress)

    async def costs() -> dict[str, Amount]:
        async with Engines() as engines:
            found = {}
            if made.chosen is not None:
                calls = Calls(Journal(None, ""), plan.limits)
                asker = await engines.asker(made.chosen, calls)
                found = measure_costs(made.prompts, made.texts, made.settings, asker)
            rows = [text.text for text in made.texts.texts]
            return {**found, **{n: cost_of_trained(x, rows) for n, x in made.trained.items()}}

    return asyncio.run(costs())


def _set_up(plan: MeasureRecipe, progress: Progress | None) -> _SetUp:
    texts = plan.read_texts()
    prompts = plan.read_prompts()
    if not prompts and not plan.prompt_folders:
        raise ConfigError(
            "there is no prompt to measure",
            where="--no-generic",
            expected="--prompt FILE, --prompt-folder FOLDER, or --root with a project",
        )
    chosen = None
    if prompts:
        chosen = connect(plan.needed_llm(), plan.limits, BUDGET, progress)
    trained = load_trained(plan.prompt_folders, plan.backbone, progress)
    return _SetUp(texts, plan.settings(texts), prompts, trained, chosen)


async def _measured(
    plan: MeasureRecipe, made: _SetUp, folder: Path, tell: Observer
) -> MeasureReport:
    # An answer depends on the model and on what it is asked, so that other prompts may join.
    about = digest(["graphrag measure", made.chosen and made.chosen.identity])
    calls = Calls(Journal(folder / FILE, about), plan.limits)
    found: list[PromptMeasure] = []
    async with Engines() as engines:
        if made.chosen is not None:
            asker, price = await engines.asker(made.chosen, calls), made.chosen.price or Price()
            asked = made.texts, made.settings, asker, price, tell
            found = [await measured(prompt, *asked) for prompt in made.prompts]
        for name, bound in made.trained.items():
            rows = [text.text for text in made.texts.texts]
            answers = await trained_answers(name, bound, rows, calls, tell)
            form = form_of(answers) if plan.form == "auto" else plan.form
            types = made.settings.types
            found.append(PromptMeasure.of(name, form, [answers], made.texts, types, Price()))
    return MeasureReport(made.texts, made.settings, tuple(found), calls.ledger.spent)
