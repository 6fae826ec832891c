"""Runs a comparison: its contests, one for each number of training rows, and their report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.catalogue import Progress
from cuecard.comparison.contest.contender import Contender, Contest
from cuecard.comparison.contest.contenders import CONTENDERS, chosen_contenders
from cuecard.comparison.contest.fewer_rows import fewer_rows
from cuecard.comparison.contest.general_texts import GeneralTexts, general_texts
from cuecard.comparison.contest.other_tasks import OtherTask
from cuecard.comparison.contest.report import contest_report, write_report
from cuecard.comparison.contest.result import ContestResult
from cuecard.comparison.contest.runner import ContestRunner
from cuecard.errors import ConfigError, DataError, Interrupted
from cuecard.interrupts import TimeLimit, stoppable
from cuecard.methods import PromptTuning
from cuecard.names import data_source, sentence_encoder
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.compare.recipe import NO_TEXTS, CompareRecipe
from cuecard.runs.folder import RunFolder
from cuecard.runs.run_kinds import COMPARE
from cuecard.tasks import Task
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone


@dataclass(frozen=True)
class SideEffects:
    """What is measured beside the task.

    Attributes:
        general: texts for forgetting, or why there are none.
        others: tasks that nothing is trained on.
    """

    general: GeneralTexts | str
    others: tuple[OtherTask, ...]


@dataclass(frozen=True)
class ComparisonSetup:
    """What is checked and loaded before the first contestant.

    Attributes:
        contest: on all rows, without a folder.
        contenders: by name, in the order in which they run.
        effects: what is measured beside the task.
    """

    contest: Contest
    contenders: Mapping[str, Contender]
    effects: SideEffects

    def with_contenders(self, names: Sequence[str]) -> ComparisonSetup:
        """The same with others after those that are there."""
        return replace(self, contenders={**self.contenders, **chosen_contenders(names)})

    def with_steps(self, steps: int) -> ComparisonSetup:
        """The same with so many steps of what is trained."""
        config = self.contest.config.model_copy(update={"steps": steps})
        return replace(self, contest=replace(self.contest, config=config))


@dataclass(frozen=True)
class CompareOutcome:
    """What a comparison led to.

    Attributes:
        contests: by training rows, ascending; the last one is on all of them.
        report: as `compare.json` has it; empty where the time was enough for none of them.
    """

    folder: Path
    task: Task
    backbone: Backbone
    contests: tuple[ContestResult, ...]
    report: Mapping[str, Any]


@contextmanager
def _resumable(place: RunFolder[CompareRecipe]) -> Iterator[None]:
    """Ctrl-C in a contestant's own run says how the comparison is resumed."""
    hint = f"resume with: {place.resume_command}"

    def stopped() -> Interrupted:
        what = "stopped during the comparison; what is finished is kept"
        return Interrupted(what, where=str(place.path), hint=hint)

    try:
        with stoppable(stopped):
            yield
    except Interrupted as error:
        raise error.replaced(hint=hint) from None


@with_progress_bar
def run_compare(
    plan: CompareRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> CompareOutcome:
    """Run all contestants; the folder holds what each did, and the report in every format.

    The same comparison in the folder is resumed: a contestant that is finished is not run again,
    one that was stopped goes on from its checkpoint.

    Args:
        observer: called with every event, which names its contestant.
        overwrite: start again where the folder holds another run.

    Raises:
        CuecardError: see `Task.from_file`, `load_backbone` and `ContestRunner.run`.
        Interrupted: Ctrl-C; what is finished is kept.
    """
    setup = set_up_comparison(plan, progress, overwrite=overwrite)
    return run_contests(plan, setup, observer=observer, overwrite=overwrite)


def run_contests(
    plan: CompareRecipe,
    setup: ComparisonSetup,
    *,
    observer: Observer | None = None,
    overwrite: bool = False,
    limit: TimeLimit | None = None,
) -> CompareOutcome:
    """`run_compare`, from its set-up.

    Args:
        limit: when the contestants end; those that it cuts off go on in another sitting.
    """
    place = RunFolder.of(plan)
    contest, effects = setup.contest, setup.effects
    tell = observer or (lambda event: None)
    with place.claimed(plan, overwrite=overwrite) as folder:
        with _resumable(place):
            contests = contests_of(plan, replace(contest, tell=tell), folder)
            found = [_finished(plan, one, setup, limit) for one in contests]
        report: dict[str, Any] = {}
        if limit is None or found[-1].tested:
            report = contest_report(contest, found, effects.general)
            write_report(report, folder, plan.recipe.data.name)
    return CompareOutcome(folder, contest.task, contest.backbone, tuple(found), report)


def set_up_comparison(
    plan: CompareRecipe, progress: Progress | None, *, overwrite: bool
) -> ComparisonSetup:
    """All that is checked and loaded before the first contestant."""
    recipe, wanted = plan.recipe, plan.contest
    recipe.check_one_seed("each contestant of a comparison")
    method = recipe.read_method()
    if method.name != PromptTuning.name:
        raise ConfigError(
            "a comparison trains what --contestants names",
            where="--method",
            got=method.name,
            expected=f"no --method, and --contestants {method.name}",
        )
    if recipe.training.lr == "auto":
        raise ConfigError(
            "a comparison tries learning rates itself",
            where="training.lr",
            got="auto",
            expected="--rates N, or one rate for all",
        )
    contenders = chosen_contenders(wanted.contestants)
    RunFolder.of(plan).check(plan, overwrite=overwrite)
    task = recipe.read_task(progress)
    if not task.test:
        raise DataError(
            "there are no test rows to compare on",
            where=recipe.data.path,
            expected="a test split, or --test FILE",
        )
    others = [OtherTask.read(name, data_source(name, progress)) for name in wanted.other_data]
    backbone = recipe.load_backbone(progress)
    general: GeneralTexts | str = "it was not asked for"
    if wanted.general != NO_TEXTS:
        general = general_texts(backbone, wanted.general, recipe.training.seed)
    encoder = sentence_encoder() if "embedding-lr" in contenders else None
    heads = recipe.task.heads_race
    trained = (recipe.training, wanted.rates, method, plan.lora, heads)
    contest = Contest(backbone, task, *trained, encoder=encoder)
    return ComparisonSetup(contest, contenders, SideEffects(general, tuple(others)))


def contests_of(plan: CompareRecipe, contest: Contest, folder: Path) -> Iterator[Contest]:
    """A contest for each number of training rows below all of them, and the one on all."""
    whole, place = contest.task, folder / COMPARE.results[0]
    for count in plan.contest.rows:
        if count < len(whole.train):
            task = fewer_rows(whole, count)
            yield replace(contest, task=task, folder=place / f"{count}-rows")
    yield replace(contest, folder=place / "all-rows")


def _finished(
    plan: CompareRecipe, contest: Contest, setup: ComparisonSetup, limit: TimeLimit | None
) -> ContestResult:
    rows, contenders, effects = len(contest.task.train), setup.contenders, setup.effects
    contest.tell({"event": "contest", "rows": rows, "contestants": list(contenders)})
    general = None if isinstance(effects.general, str) else effects.general
    runner = ContestRunner(contenders, contest, general, effects.others, limit)
    order = list(CONTENDERS)
    ranked = sorted(runner.run(), key=lambda each: order.index(each.standing.name))
    return ContestResult(contest.task, tuple(ranked), plan.contest.price)
