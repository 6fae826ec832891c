"""One contestant on one set with one model: its prompt is made, then measured on the test texts.

Contestants are made and measured by what `cuecard graphrag` and `cuecard train` run, in a folder of
their own, with the model in this process.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.graphrag.plan import (
    DEFAULT,
    GENERIC,
    OPTIMISED,
    PROMPT_TUNE,
    SOFT,
    TUNED,
    TUNED_GOLD,
    TUNED_JSON,
    Cell,
)
from benchmarks.graphrag.server import (
    project_settings,
    python_of_graphrag,
    run_graphrag,
    served,
)
from benchmarks.graphrag.sets import (
    CORPUS,
    SEARCHED,
    SOLVED,
    TEST,
    TRAINED,
    ExtractionSet,
    write_inputs,
    write_texts,
)
from benchmarks.graphrag.soft import TEMPLATE, start_text
from benchmarks.machine import cpu_seconds
from cuecard.errors import ConfigError, CuecardError, Interrupted
from cuecard.evaluation.report import plain, write_json
from cuecard.graphrag.measuring.measure import PromptMeasure
from cuecard.graphrag.prompts.dialects import WEAK_FILE
from cuecard.graphrag.tuning.settings import TuneSettings
from cuecard.methods import PromptTuning
from cuecard.plain_files import write_text
from cuecard.runs.graphrag.dataset import DATA, run_dataset
from cuecard.runs.graphrag.dataset_recipe import DatasetRecipe
from cuecard.runs.graphrag.measure import run_measure
from cuecard.runs.graphrag.measure_recipe import MeasureRecipe
from cuecard.runs.graphrag.optimise import PROMPT, run_optimise
from cuecard.runs.graphrag.optimise_recipe import OptimiseRecipe
from cuecard.runs.graphrag.recipe import TuneRecipe
from cuecard.runs.graphrag.tune import run_tune
from cuecard.runs.llm_recipe import LLMRecipe
from cuecard.runs.recipe import Recipe, run_recipe
from cuecard.runs.recipe_sections import DataRecipe, TaskRecipe
from cuecard.search.settings import SearchSettings
from cuecard.training.config import TrainConfig
from cuecard.training.storage.log import Observer

# Of an answer to GraphRAG's own tuning: of a sentence's entities they are enough.
_TUNING_TOKENS = 400
PEER = Path(__file__).with_name("peer.py")


@dataclass(frozen=True)
class Made:
    """A contestant's prompt.

    Attributes:
        prompts: files of prompts that an LLM is asked with, by name.
        trained: folders of prompts that are trained, by name.
        calls, tokens: that it took; of a training, rows and tokens.
    """

    prompts: Mapping[str, str] = field(default_factory=dict)
    trained: Mapping[str, str] = field(default_factory=dict)
    calls: int = 0
    tokens: int = 0


class Contest:
    """A cell's contestant, in its folder.

    Args:
        tell: is told of every step.
    """

    def __init__(self, cell: Cell, folder: Path, tell: Observer) -> None:
        self._cell, self._plan, self._tell = cell, cell.plan, tell
        self._folder, self._room = folder, cell.room(folder)
        self._llm = LLMRecipe(model=cell.model, at_once=cell.plan.at_once)

    def run(self) -> dict[str, Any]:
        """The cell's result, written to its file; what was there of it before is thrown away."""
        cell = self._cell
        shutil.rmtree(self._room, ignore_errors=True)
        own = {"model": Path(cell.model).name, "set": cell.set, "seed": cell.seed}
        try:
            found = self._run()
        except Interrupted:
            raise
        except CuecardError as error:  # a model that solves no example, a prompt that is too long
            found = {"unsupported": error.what, "error": str(error)}
        found = {**own, "contestant": cell.contestant, **found}
        write_json(found, cell.file(self._folder))
        return found

    def _run(self) -> dict[str, Any]:
        plan, cell = self._plan, self._cell
        chosen = write_texts(Path(plan.corpora), cell.set, plan.sizes, cell.seed, self._room)
        began = cpu_seconds()
        made = _MAKERS[cell.contestant](self, chosen)
        making = cpu_seconds() - began
        began = cpu_seconds()
        measure = self._measured(made)
        measuring = cpu_seconds() - began
        return {
            "made": {"calls": made.calls, "tokens": made.tokens, "cpu_s": making},
            "cpu_s": measuring,
            **_numbers(measure),
        }

    def generic(self, chosen: ExtractionSet) -> Made:
        """The prompt for any corpus."""
        return Made()

    def default(self, chosen: ExtractionSet) -> Made:
        """The prompt that GraphRAG ships."""
        out = self._room / PROMPT
        run_graphrag([str(PEER), "default", str(out)], self._room / "graphrag.log")
        return Made({DEFAULT: str(out)})

    def prompt_tune(self, chosen: ExtractionSet) -> Made:
        """GraphRAG's own tuning, of the model that `cuecard serve` serves, given the types."""
        out, project = self._room / PROMPT, self._room / "project"
        python_of_graphrag()
        write_inputs(self._room / CORPUS, project / "input")
        with served(self._cell.model, self._room) as server:
            settings = project_settings(server.url, server.model, answer_tokens=_TUNING_TOKENS)
            write_text(yaml.safe_dump(settings), project / "settings.yaml")
            words = ["tuned", str(out), str(project), str(self._cell.seed), *chosen.types]
            run_graphrag([str(PEER), *words], self._room / "graphrag.log")
            calls, tokens = server.used()
        return Made({PROMPT_TUNE: str(out)}, calls=calls, tokens=tokens)

    def tuned(self, chosen: ExtractionSet) -> Made:
        """`cuecard graphrag tune`, given the types: the model solves the examples itself."""
        return self._tuned(chosen)

    def tuned_gold(self, chosen: ExtractionSet) -> Made:
        """The same with --gold: the examples are solved by people."""
        return self._tuned(chosen, self._room / SOLVED)

    def tuned_json(self, chosen: ExtractionSet) -> Made:
        """The same with --weak too."""
        return self._tuned(chosen, self._room / SOLVED, weak=True)

    def _tuned(
        self, chosen: ExtractionSet, gold: Path | None = None, *, weak: bool = False
    ) -> Made:
        recipe = TuneRecipe(
            root=self._room / "project",
            corpus=self._room / CORPUS,
            gold=gold,
            tune=TuneSettings(types=chosen.types, seed=self._cell.seed),
            llm=self._llm,
            weak=weak,
        )
        found = run_tune(recipe, observer=self._tell)
        name = WEAK_FILE if weak else PROMPT
        return Made(
            {f"own, {self._cell.contestant}": str(recipe.prompts / name)},
            calls=found.spent.calls,
            tokens=found.spent.tokens,
        )

    def optimised(self, chosen: ExtractionSet) -> Made:
        """`cuecard graphrag optimise` from the tuned prompt, on gold of other texts."""
        plan, first = self._plan, self._cell.beside(TUNED_GOLD)
        start = first.room(self._folder) / "project" / "prompts" / "tuned" / PROMPT
        recipe = OptimiseRecipe(
            gold=str(self._room / SEARCHED),
            prompt=str(start) if start.exists() else None,
            searcher=plan.searcher,
            split=(0.6, 0.35, 0.05),
            search=SearchSettings(
                rows=16, proposals=4, rounds=20, finalists=2, block=16, seed=self._cell.seed
            ),
            budget=f"{plan.calls} calls",
            max_tokens=plan.answer_tokens,
            llm=self._llm,
            out=str(self._room / "search"),
        )
        found = run_optimise(recipe, observer=self._tell)
        spent = found.found.spent
        prompt = str(recipe.folder / PROMPT)
        return Made({OPTIMISED: prompt}, calls=spent.calls, tokens=spent.tokens)

    def soft(self, chosen: ExtractionSet) -> Made:
        """`cuecard graphrag dataset`, then `cuecard train` on it."""
        plan, cell = self._plan, self._cell
        if cell.model not in plan.trains:
            raise ConfigError(
                "not trained, which would take hours",
                where=Path(cell.model).name,
                expected="a model that --train names",
            )
        rows = DatasetRecipe(
            gold=str(self._room / TRAINED), descriptions=False, out=str(self._room / "rows")
        )
        run_dataset(rows)
        start = PromptTuning(text=start_text(self._room / TRAINED, chosen.types, cell.seed))
        recipe = Recipe(
            data=DataRecipe(
                path=str(rows.folder / DATA), label_field="target", split=(0.93, 0.07, 0.0)
            ),
            task=TaskRecipe.model_validate(
                {
                    "kind": "text-to-text",
                    "template": TEMPLATE,
                    "max_new_tokens": plan.answer_tokens,
                    "max_length": 1024,
                }
            ),
            backbone=cell.model,
            method={"name": start.name, **start.model_dump(exclude_none=True)},
            training=TrainConfig(
                steps=plan.steps,
                batch_rows=plan.batch_rows,
                eval_every=max(1, plan.steps // 3),
                seed=cell.seed,
            ),
            compare=False,
            out=str(self._room / "run"),
        )
        run = run_recipe(recipe, observer=self._tell).run
        return Made(trained={SOFT: str(recipe.folder)}, calls=0, tokens=run.tokens)

    def _measured(self, made: Made) -> PromptMeasure:
        recipe = MeasureRecipe(
            gold=str(self._room / TEST),
            generic=not made.prompts and not made.trained,
            prompts=dict(made.prompts),
            prompt_folders=dict(made.trained),
            backbone=self._cell.model if made.trained else None,
            max_tokens=self._plan.answer_tokens,
            budget="100000 calls",
            llm=self._llm,
            out=str(self._room / "measured"),
        )
        (found,) = run_measure(recipe, observer=self._tell).measures
        return found


_MAKERS: Mapping[str, Callable[[Contest, ExtractionSet], Made]] = {
    GENERIC: Contest.generic,
    DEFAULT: Contest.default,
    PROMPT_TUNE: Contest.prompt_tune,
    TUNED: Contest.tuned,
    TUNED_GOLD: Contest.tuned_gold,
    TUNED_JSON: Contest.tuned_json,
    OPTIMISED: Contest.optimised,
    SOFT: Contest.soft,
}
CONTESTANTS = tuple(_MAKERS)
"""Who can compete, in the order they run: the first is what others are compared with."""
USUAL = tuple(name for name in _MAKERS if name != TUNED_JSON)
"""Who competes: answers in JSON are no better for these models; see LOG.md."""


def _numbers(measure: PromptMeasure) -> dict[str, Any]:
    """What is kept of a measurement: counts of every text, and no text."""
    chunks = len(measure.answers)
    told: dict[str, Any] = plain(
        {
            "counts": {
                f"{what}, {match}": [row.totals for row in scores.rows]
                for (what, match), scores in measure.scores.items()
            },
            "conforms": [not each.faults for each in measure.read],
            "read": measure.usage.prompt_tokens / chunks,
            "written": measure.usage.completion_tokens / chunks,
            "cut": measure.cut,
        }
    )
    return told
