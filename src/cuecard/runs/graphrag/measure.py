"""Measures a project's prompts, generic ones and trained ones on the same texts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from cuecard.artifacts.bound_prompt import BoundPrompt
from cuecard.catalogue import Progress
from cuecard.errors import ConfigError
from cuecard.evaluation.report import write_json
from cuecard.graphrag.gold import TextSet
from cuecard.graphrag.measuring.measure import (
    MeasureReport,
    MeasureSettings,
    PromptMeasure,
    measure_costs,
    measured,
)
from cuecard.graphrag.measuring.prompts import (
    GENERIC,
    ExtractionPrompt,
    generic_prompt,
    read_prompt,
)
from cuecard.graphrag.prompts.dialects import WEAK_FILE
from cuecard.graphrag.prompts.slots import EXTRACTION
from cuecard.llms.prices import Price
from cuecard.runs.folder import RunFolder
from cuecard.runs.graphrag.asking import ExtractionRecipe, sitting
from cuecard.runs.graphrag.trained import (
    cost_of_trained,
    form_of,
    load_trained,
    trained_answers,
)
from cuecard.runs.llms import ChosenLLM, Engines, connect
from cuecard.runs.run_kinds import GRAPHRAG_MEASURE
from cuecard.search.budget import Amount, SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import digest
from cuecard.search.journal import FILE, Journal
from cuecard.search.searcher import Observer

JSON = "measure.json"
PROJECT = "project"
TUNED = {
    "tuned": f"prompts/tuned/{EXTRACTION.file}",
    "tuned-json": f"prompts/tuned/{WEAK_FILE}",
}
"""What `cuecard graphrag tune` leaves in a project."""


class MeasureRecipe(ExtractionRecipe):
    """Which prompts are measured, on what, and how."""

    KIND = GRAPHRAG_MEASURE
    DEFAULT = "graphrag-measure"

    generic: bool = Field(default=True, description="Compare with a prompt for any corpus.")
    prompts: dict[str, str] = Field(
        default_factory=dict,
        description="Extraction prompts: a file as GraphRAG reads it, or NAME=FILE.",
    )
    prompt_folders: dict[str, str] = Field(
        default_factory=dict,
        description="Prompts that `cuecard train` made of a text-to-text task, as FOLDER or "
        "NAME=FOLDER: they answer on their own backbone.",
    )
    backbone: str | None = Field(
        default=None, description="The backbone of these; by default the one that each names."
    )
    runs: int | None = Field(
        default=None,
        ge=1,
        description="Times that every text is extracted from: the first is scored, others say how "
        "alike two runs are. By default 1 with gold, 2 without.",
    )
    temperature: float = Field(
        default=0.7, gt=0, le=2, description="Of runs after the first, which is at 0."
    )

    @model_validator(mode="after")
    def _names(self) -> Self:
        taken = [GENERIC, PROJECT, *TUNED, *self.prompts, *self.prompt_folders]
        twice = sorted({name for name in taken if taken.count(name) > 1})
        if twice:
            raise ConfigError(
                "two prompts have one name",
                where="--prompt",
                got=", ".join(twice),
                expected="NAME=FILE with names of their own",
            )
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        own = (*self.prompts.values(), *self.prompt_folders.values())
        return (*super().paths, *own, *([self.backbone] if self.backbone else []))

    def settings(self, texts: TextSet) -> MeasureSettings:
        """How prompts are measured on texts."""
        runs = self.runs or (1 if texts.labelled else 2)
        types = self.entity_types(texts)
        return MeasureSettings(types, runs, self.temperature, self.max_tokens, self.seed)

    def read_prompts(self) -> list[ExtractionPrompt]:
        """The prompts that an LLM is asked with, the generic one first.

        Raises:
            ConfigError, FileError: one that cannot be read, or that GraphRAG could not format.
        """
        found = [generic_prompt()] if self.generic else []
        files = {**self._project_prompts(), **self.prompts}
        return [*found, *(read_prompt(file, name, self.form) for name, file in files.items())]

    def _project_prompts(self) -> dict[str, str]:
        """The extraction prompts of the project: the one that it uses, and those beside it."""
        project = self.project
        if project is None:
            return {}
        named = project.section(EXTRACTION.section).get(EXTRACTION.key)
        used = project.root / str(named or f"prompts/{EXTRACTION.file}")
        found = {PROJECT: used} if named or used.is_file() else {}
        for name, file in TUNED.items():
            place = project.root / file
            if place.is_file() and place not in found.values():
                found[name] = place
        return {name: str(place) for name, place in found.items()}


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


def plan_measure(plan: MeasureRecipe, *, progress: Progress | None = None) -> dict[str, Amount]:
    """What each prompt would take at most; nothing is asked, and nothing written.

    Raises:
        CuecardError: what the measurement itself would refuse before its first call.
    """
    made = _set_up(plan, progress)

    async def costs() -> dict[str, Amount]:
        async with Engines() as engines:
            found = {}
            if made.chosen is not None:
                calls = Calls(Journal(None, ""), SearchBudget.parse(plan.budget, "--budget"))
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
        budget = SearchBudget.parse(plan.budget, "--budget")
        chosen = connect(plan.needed_llm(), budget, "--budget", progress)
    trained = load_trained(plan.prompt_folders, plan.backbone, progress)
    return _SetUp(texts, plan.settings(texts), prompts, trained, chosen)


async def _measured(
    plan: MeasureRecipe, made: _SetUp, folder: Path, tell: Observer
) -> MeasureReport:
    # Answers depend on nothing but their requests, so that other prompts may come to the same one.
    about = digest(["graphrag measure"])
    calls = Calls(Journal(folder / FILE, about), SearchBudget.parse(plan.budget, "--budget"))
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
