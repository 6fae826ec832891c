"""Advice from a contest on the task's own rows, within some minutes, and from shipped measurements.

The contest is a comparison in a folder of its own, which `cuecard compare` resumes, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cuecard.catalogue import Progress
from cuecard.comparison.contest.contenders import CONTENDERS
from cuecard.comparison.contest.result import ContestResult
from cuecard.errors import BackboneError, ConfigError, Interrupted
from cuecard.evaluation.measured import Recommendation, advise
from cuecard.evaluation.measured.combined import CombinedEstimate, combined
from cuecard.evaluation.measured.ways import BY_CONTESTANT
from cuecard.evaluation.report import plain, write_json
from cuecard.interrupts import TimeLimit
from cuecard.runs.compare.recipe import NO_TEXTS, CompareRecipe, ContestSettings
from cuecard.runs.compare.run import (
    CompareOutcome,
    ComparisonSetup,
    run_contests,
    set_up_comparison,
)
from cuecard.runs.estimate import estimate_run
from cuecard.runs.folder import RunFolder
from cuecard.runs.recipe import Recipe
from cuecard.training.storage.log import Observer

RESULT = "advice.json"
CHEAP = ("majority", "tfidf", "embedding-lr", "zero-shot", "in-context")
_LIKELY = 5  # contestants beside the cheap ones
_PLANNED = 3  # of them, that the steps are to be enough time for
_SHARE = 0.6  # of the time, for what is trained
_FEWEST_STEPS = 40
# Where nothing was measured on such tasks.
_USUAL = ("auto", "prompt-tuning", "lora")


@dataclass(frozen=True)
class MeasuredAdvice:
    """What is advised after a contest.

    Attributes:
        shipped: what is advised by the shipped measurements alone.
        estimates: of every way, by both, the best first.
        contest: what the task's own rows say; its test rows had no part in the advice.
        waiting: contestants that the time was not enough for.
        steps: of what was trained.
        seconds: of all sittings, by the clock.
    """

    folder: Path
    shipped: Recommendation
    estimates: tuple[CombinedEstimate, ...]
    contest: ContestResult
    waiting: tuple[str, ...]
    steps: int
    seconds: float

    @property
    def way(self) -> str:
        """What is advised."""
        return self.estimates[0].way if self.estimates else self.shipped.way

    @property
    def trained(self) -> str | None:
        """The folder of what is advised, where the contest has trained it."""
        found = [each for each in self.contest.tested if each.standing.name == self.way]
        return next((each.standing.facts.get("folder") for each in found), None)

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {
            "advice": self.way,
            "estimates": self.estimates,
            "measured_here": self.contest.facts(),
            "waiting": self.waiting,
            "steps": self.steps,
            "seconds": self.seconds,
            "folder": str(self.folder),
            "trained": self.trained,
            "elsewhere": self.shipped.to_dict(),
        }


def check_minutes(minutes: float, where: str = "minutes") -> None:
    """
    Raises:
        ConfigError: they are no time.
    """
    if not 0 < minutes < float("inf"):
        raise ConfigError("not a time", where=where, got=minutes, expected="minutes, such as 10")


def measure_and_advise(
    recipe: Recipe,
    minutes: float,
    budget: float | None,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> MeasuredAdvice:
    """Spend minutes on a contest, the cheap contestants first and then the likely ones; advise.

    The same call again is over at once; with more minutes it goes on. The time of all sittings
    counts, from their starts; one that was killed is not counted.

    Args:
        recipe: its training's steps are the most; its `out` is the comparison's folder.
        budget: CPU-seconds that the training will have, by which measurements are compared.

    Raises:
        ConfigError: minutes that are no time.
        CuecardError: as `run_compare`.
    """
    check_minutes(minutes)
    folder = folder_of(recipe)
    before = 0.0 if overwrite else _spent_in(folder)
    limit = TimeLimit(60 * minutes - before)
    steps = None if overwrite else _steps_in(folder)
    setup = set_up_comparison(_plan(recipe, folder, (), steps), progress, overwrite=overwrite)
    shipped = advise(setup.contest.task, recipe.backbone, budget)
    beside = likely(shipped)
    setup = setup.with_contenders(beside)
    if steps is None:
        setup = setup.with_steps(_steps_for(setup, 60 * minutes * _SHARE))
    plan = _plan(recipe, folder, beside, setup.contest.config.steps)
    try:
        outcome = run_contests(plan, setup, observer=observer, overwrite=overwrite, limit=limit)
    except Interrupted:
        write_json({"seconds": before + limit.spent}, folder / RESULT)
        raise
    found = _advice(outcome, plan, shipped, before + limit.spent)
    write_json(plain(found.to_dict()), folder / RESULT)
    return found


def _advice(
    outcome: CompareOutcome, plan: CompareRecipe, shipped: Recommendation, seconds: float
) -> MeasuredAdvice:
    (contest,) = outcome.contests
    reached = {each.standing.name for each in contest.ranked}
    return MeasuredAdvice(
        outcome.folder,
        shipped,
        tuple(combined(shipped.expected, scores_of(contest), len(contest.task.validation))),
        contest,
        waiting=tuple(name for name in plan.contest.contestants if name not in reached),
        steps=plan.recipe.training.steps,
        seconds=seconds,
    )


def folder_of(recipe: Recipe) -> Path:
    """Its `out`; by default runs/, the data's name and "-advise"."""
    folder = recipe.folder
    return folder if recipe.out else folder.with_name(f"{folder.name}-advise")


def scores_of(contest: ContestResult) -> dict[str, float]:
    """The ways that took part -> the score on validation rows, of several contestants the best."""
    found: dict[str, float] = {}
    for each in contest.tested:
        way, score = BY_CONTESTANT.get(each.standing.name), each.standing.score
        if way is not None and score is not None:
            found[way] = max(score, found.get(way, score))
    return found


def likely(shipped: Recommendation) -> tuple[str, ...]:
    """Contestants beside the cheap ones, those of which most is expected first."""
    ways = [each.way for each in shipped.expected]
    names = [name for way in ways for name in CONTENDERS if BY_CONTESTANT.get(name) == way]
    return tuple(name for name in names if name not in CHEAP)[:_LIKELY] or _USUAL


@dataclass(frozen=True)
class TrainingCost:
    """What a training takes, in seconds.

    Attributes:
        step: of one step.
        rest: of all validations and the test.
    """

    step: float
    rest: float


def steps_within(costs: Sequence[TrainingCost], seconds: float, most: int) -> int:
    """With how many steps these contestants are trained and tested in this time.

    Fewer of them are planned for where they would have too few steps.
    """
    found = 0
    for count in range(len(costs), 0, -1):
        some = costs[:count]
        found = int((seconds - sum(c.rest for c in some)) / sum(c.step for c in some))
        if found >= _FEWEST_STEPS:
            break
    return min(most, max(found, _FEWEST_STEPS))


def _steps_for(setup: ComparisonSetup, seconds: float) -> int:
    """`steps_within`, for the first few contenders that are trained by steps."""
    costs = (_cost(setup, name) for name in setup.contenders)
    known = islice((cost for cost in costs if cost is not None), _PLANNED)
    return steps_within(list(known), seconds, setup.contest.config.steps)


def _cost(setup: ComparisonSetup, name: str) -> TrainingCost | None:
    """None for what is not trained by steps, or cannot be."""
    contest = setup.contest
    try:
        one = setup.contenders[name].setup(contest)
    except (ConfigError, BackboneError):
        return None
    if one is None:
        return None
    found = estimate_run(one)
    return TrainingCost(found.steps / one.config.steps, found.validation + found.test)


def _plan(recipe: Recipe, folder: Path, beside: Sequence[str], steps: int | None) -> CompareRecipe:
    """The comparison's recipe.

    Args:
        beside: contestants beside the cheap ones.
        steps: of the training; None for the recipe's.
    """
    if steps is not None:
        training = recipe.training.model_copy(update={"steps": steps})
        recipe = recipe.model_copy(update={"training": training})
    contest = ContestSettings(contestants=(*CHEAP, *beside), rates=1, general=NO_TEXTS)
    return CompareRecipe(recipe=recipe.in_folder(folder), contest=contest)


def _steps_in(folder: Path) -> int | None:
    """Of the contest that the folder holds; None where it holds none."""
    place = RunFolder(folder, CompareRecipe)
    if not place.file.is_file():
        return None
    return CompareRecipe.read(place.file).recipe.training.steps


def _spent_in(folder: Path) -> float:
    try:
        found = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        return float(found["seconds"])
    except (OSError, ValueError, TypeError, KeyError):
        return 0.0
