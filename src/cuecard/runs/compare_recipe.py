"""A comparison in one piece: the recipe that all contestants share, who they are, its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from cuecard.catalogue import Progress
from cuecard.errors import ConfigError, DataError, Interrupted
from cuecard.interrupts import stoppable
from cuecard.methods import PromptTuning
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.folder import RunFolder
from cuecard.runs.recipe import AroundRecipe
from cuecard.runs.recipe_file import Section
from cuecard.runs.run_kinds import COMPARE
from cuecard.training.storage.log import Observer
from cuecard.training.trainables.lora import LoraSettings
from cuecard.types import Backbone

if TYPE_CHECKING:
    from cuecard.comparison.contest.contender import Contender, Contest
    from cuecard.comparison.contest.general_texts import GeneralTexts
    from cuecard.comparison.contest.other_tasks import OtherTask
    from cuecard.comparison.contest.table import ContestResult
    from cuecard.tasks import Task

MOST_RATES = 5


class ContestSettings(Section):
    """Who competes, on how many rows, and what is measured beside the score."""

    contestants: tuple[str, ...] = Field(
        default=(
            *("majority", "tfidf", "embedding-lr", "zero-shot", "in-context", "start"),
            *("prompt-tuning", "lora"),
        ),
        min_length=1,
        description="Who competes, in any order: majority, tfidf, embedding-lr, zero-shot, "
        "in-context, search (of words), start (a prompt before its first step), methods by their "
        "names such as prompt-tuning and p-tuning-v2, lora, lora+prompt, and full (every matrix).",
    )
    rates: int = Field(
        default=3,
        ge=1,
        le=MOST_RATES,
        description="How many learning rates everything that is trained is trained at, around its "
        "own default; the lowest validation loss decides.",
    )
    rows: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        default=(),
        description="Also compare on so many training rows, such as 32,128,512: a learning curve.",
    )
    general: str | None = Field(
        default=None,
        description="Texts that are not the task's, to measure forgetting on: a text file, a text "
        "a line, or a table with a column text. By default texts that the frozen model itself "
        "writes.",
    )
    other_data: tuple[str, ...] = Field(
        default=(),
        exclude_if=lambda names: not names,
        description="Labelled data of other tasks, with columns text and label, to score with each "
        "contestant on and off: files, or data sets of the catalogue.",
    )
    price: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="What an hour of this machine costs, for a column of money.",
    )

    @field_validator("contestants")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """
        Raises:
            ConfigError: a name given twice.
        """
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ConfigError(
                "a contestant is named twice", where="contestants", got=", ".join(sorted(twice))
            )
        return names

    @field_validator("rows")
    @classmethod
    def _ascending(cls, rows: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(rows)))


class CompareRecipe(AroundRecipe):
    """Everything a comparison depends on.

    Attributes:
        recipe: data, task, backbone and training of all; its method is prompt tuning's settings.
        lora: the adapter's settings.
    """

    KIND = COMPARE

    contest: ContestSettings = ContestSettings()
    lora: LoraSettings = LoraSettings()

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        general, others = self.contest.general, self.contest.other_data
        return (*self.recipe.paths, *(() if general is None else (general,)), *others)


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
class CompareOutcome:
    """What a comparison led to.

    Attributes:
        contests: by training rows, ascending; the last one is on all of them.
        report: as `compare.json` has it.
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


@dataclass(frozen=True)
class Entered:
    """A contestant in a dry run.

    Attributes:
        name: as in `--contestants`.
        parameters: how many numbers it trains; None for one that is not trained by steps.
        rates: the learning rates it tries.
        seconds: how long its trainings would take on this machine, about.
        why_not: why it would be left out; None where it would not.
    """

    name: str
    parameters: int | None = None
    rates: tuple[float, ...] = ()
    seconds: float | None = None
    why_not: str | None = None


@dataclass(frozen=True)
class ComparePlan:
    """A dry run of a comparison.

    Attributes:
        rows: training, validation and test rows of each contest.
        entered: the contestants, on the most rows.
    """

    folder: Path
    backbone: str
    steps: int
    rows: tuple[tuple[int, int, int], ...]
    entered: tuple[Entered, ...]


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
    from cuecard.comparison.contest.report import contest_report, write_report  # noqa: PLC0415

    place = RunFolder.of(plan)
    contest, contenders, effects = _set_up(plan, progress, overwrite=overwrite)
    tell = observer or (lambda event: None)
    with place.claimed(plan, overwrite=overwrite) as folder:
        with _resumable(place):
            contests = _contests(plan, replace(contest, tell=tell), folder)
            found = [_finished(plan, one, contenders, effects) for one in contests]
        report = contest_report(contest, found, effects.general)
        write_report(report, found, folder, plan.recipe.data.name)
    return CompareOutcome(folder, contest.task, contest.backbone, tuple(found), report)


def resume_compare(folder: str | Path, **options: Any) -> CompareOutcome:
    """Resume the comparison in a folder; options as in `run_compare`.

    Raises:
        TrainingError: there is none.
    """
    return run_compare(RunFolder(Path(folder), CompareRecipe).to_resume(), **options)


def plan_compare(
    plan: CompareRecipe, *, progress: Progress | None = None, overwrite: bool = False
) -> ComparePlan:
    """What a comparison would do; nothing is trained, and nothing written.

    Raises:
        CuecardError: what the comparison itself would refuse before its first contestant.
    """
    contest, contenders, _ = _set_up(plan, progress, overwrite=overwrite)
    contests = [one.task for one in _contests(plan, contest, plan.folder)]
    return ComparePlan(
        plan.folder,
        contest.backbone.name,
        contest.config.steps,
        tuple((len(t.train), len(t.validation), len(t.test)) for t in contests),
        tuple(_entered(name, each, contest) for name, each in contenders.items()),
    )


def _entered(name: str, contender: Contender, contest: Contest) -> Entered:
    from cuecard.comparison.contest.rates import rates_of  # noqa: PLC0415
    from cuecard.runs.estimate import estimate_run  # noqa: PLC0415

    try:
        setup = contender.setup(contest)
    except ConfigError as error:
        return Entered(name, why_not=error.what)
    if setup is None:
        return Entered(name)
    rates = rates_of(contest, setup)
    count = sum(parameter.numel() for parameter in setup.start.parameters())
    with setup.trainable.attached(setup.start):
        seconds = len(rates) * estimate_run(setup).seconds
    return Entered(name, count, tuple(rates), seconds)


def _set_up(
    plan: CompareRecipe, progress: Progress | None, *, overwrite: bool
) -> tuple[Contest, dict[str, Contender], SideEffects]:
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
    # What trains and compares, only now: a mistake in what is named need not wait for it.
    from cuecard.comparison.contest.contender import Contest  # noqa: PLC0415
    from cuecard.comparison.contest.contenders import chosen_contenders  # noqa: PLC0415
    from cuecard.comparison.contest.general_texts import general_texts  # noqa: PLC0415
    from cuecard.comparison.contest.other_tasks import OtherTask  # noqa: PLC0415
    from cuecard.names import data_source, sentence_encoder  # noqa: PLC0415

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
    general = general_texts(backbone, wanted.general, recipe.training.seed)
    needs = "embedding-lr" in contenders
    encoder = sentence_encoder() if needs else None
    contest = Contest(
        backbone, task, recipe.training, wanted.rates, method, plan.lora, encoder=encoder
    )
    return contest, contenders, SideEffects(general, tuple(others))


def _contests(plan: CompareRecipe, contest: Contest, folder: Path) -> Iterator[Contest]:
    """A contest for each number of training rows below all of them, and the one on all."""
    from cuecard.comparison.contest.fewer_rows import fewer_rows  # noqa: PLC0415

    whole, place = contest.task, folder / COMPARE.results[0]
    for count in plan.contest.rows:
        if count < len(whole.train):
            task = fewer_rows(whole, count)
            yield replace(contest, task=task, folder=place / f"{count}-rows")
    yield replace(contest, folder=place / "all-rows")


def _finished(
    plan: CompareRecipe,
    contest: Contest,
    contenders: Mapping[str, Contender],
    effects: SideEffects,
) -> ContestResult:
    from cuecard.comparison.contest.runner import ContestRunner  # noqa: PLC0415
    from cuecard.comparison.contest.table import ContestResult  # noqa: PLC0415

    rows = len(contest.task.train)
    contest.tell({"event": "contest", "rows": rows, "contestants": list(contenders)})
    general = None if isinstance(effects.general, str) else effects.general
    runner = ContestRunner(contenders, contest, general, effects.others)
    return ContestResult(rows, contest.task, tuple(runner.run()), plan.contest.price)
