"""A transfer in one piece: a recipe for a new task, and the saved prompts it may start from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from cuecard.catalogue import Progress
from cuecard.errors import ArtifactError, ConfigError, Interrupted
from cuecard.methods import ATTEMPT, METHODS, MPT
from cuecard.methods.start import StartSettings
from cuecard.plain_files import write_text
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.folder import RunFolder
from cuecard.runs.recipe import AroundRecipe, Outcome, Recipe, what_else
from cuecard.runs.run_kinds import RUN, TRANSFER
from cuecard.tracking import with_trackers
from cuecard.training.storage.log import Observer
from cuecard.training.transfer.found import EVENT, USUAL, TransferFound
from cuecard.training.transfer.settings import TransferConfig
from cuecard.types import Backbone

if TYPE_CHECKING:
    from cuecard.artifacts import Prompt
    from cuecard.methods import MethodSettings
    from cuecard.tasks import Task
    from cuecard.training.storage.checkpoint import State
    from cuecard.training.transfer.sources import SourcePrompt

BEST = "best"


class TransferRecipe(AroundRecipe):
    """Everything a transfer depends on.

    Attributes:
        recipe: the new task; its method is the usual start. `recipe.out` is the transfer's folder.
        library: name -> folder of each saved prompt, or of what a multitask run shares.
        search: what the search for a start may spend.
    """

    KIND = TRANSFER

    library: dict[str, str] = Field(min_length=1)
    search: TransferConfig = TransferConfig()

    def mixing(self, names: Sequence[str]) -> Recipe:
        """The recipe of the run that mixes saved prompts, with the usual start beside them."""
        values, out = self.recipe.model_dump(mode="json"), str(self.folder / BEST)
        same = {key: values["method"][key] for key in ("slot", "init", "text")}
        sources = [self.library[name] for name in names]
        method = {**same, "name": ATTEMPT.name, "sources": sources}
        return Recipe.parse(values | {"method": method, "out": out}, "the transfer")

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        return (*self.recipe.paths, *self.library.values())

    def starting_from(self, name: str) -> Recipe:
        """The recipe of the run that starts from a saved prompt, or "none" of the library.

        Raises:
            ConfigError: a method that cannot start from it.
        """
        from cuecard.artifacts import shared_folder  # noqa: PLC0415

        values, out = self.recipe.model_dump(mode="json"), str(self.folder / BEST)
        if name == USUAL:
            return Recipe.parse(values | {"out": out}, "the transfer")
        place, method = self.library[name], values["method"]
        if shared_folder(place) is not None:
            if not issubclass(METHODS[method["name"]], StartSettings):
                raise ConfigError(
                    "what tasks share are vectors",
                    where=name,
                    got=f"the method {method['name']}",
                    expected="a method of vectors",
                )
            same = {key: method[key] for key in ("slot", "length") if key in method}
            method = {"name": MPT.name, **same}
        method = {**method, "init": "prompt", "text": None, "prompt": place}
        return Recipe.parse(values | {"method": method, "out": out}, "the transfer")


@dataclass(frozen=True)
class TransferOutcome:
    """What a transfer led to.

    Attributes:
        outcome: the run from the chosen start, as `run_recipe` returns it.
        found: the starts that were tried.
    """

    outcome: Outcome
    found: TransferFound


@with_progress_bar
@with_trackers
def run_transfer(
    plan: TransferRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> TransferOutcome:
    """Search for a start, train from it, and test once; the chosen run is in `best`.

    The same transfer in the folder is resumed.

    Args:
        observer: called with every event; by default a progress bar in a terminal or a notebook.
        overwrite: start again where the folder holds another one.

    Raises:
        CuecardError: see `Task.from_file`, `load_backbone`, `TransferSearch`, `train` and `prove`.
    """
    recipe, place = plan.recipe, RunFolder.of(plan)
    recipe.check_one_seed("a transfer")
    if recipe.method["prompt"] is not None:
        raise ConfigError(
            "a transfer finds the prompt to start from itself",
            where="method.prompt",
            got=recipe.method["prompt"],
            expected="a library (--from) alone",
        )
    place.check(plan, overwrite=overwrite)
    usual = recipe.read_method()
    task = recipe.read_task(progress)
    backbone = recipe.load_backbone(progress)
    # What trains and reports, only now: a mistake in what is named need not wait for it.
    from cuecard.training.transfer.search import TransferSearch  # noqa: PLC0415

    sources, left_out = read_sources(plan, task, backbone)
    search = TransferSearch(
        backbone,
        task,
        usual,
        sources,
        recipe.training,
        plan.search,
        left_out=left_out,
        folder=plan.folder,
        observer=observer,
    )
    with place.claimed(plan, overwrite=overwrite, fits=search.fits):
        found = search.run()
        source = sources.get(found.chosen)
        mixed = () if source is None else source.mixed
        chosen = plan.mixing(mixed) if mixed else plan.starting_from(found.chosen)
        method = usual if source is None else source.method
        outcome = _trained(chosen, task, backbone, method, found, search.spent, place, observer)
    return TransferOutcome(outcome, found)


def resume_transfer(folder: str | Path, **options: Any) -> TransferOutcome:
    """Resume the transfer in a folder; options as in `run_transfer`.

    Raises:
        TrainingError: there is no such run.
    """
    return run_transfer(RunFolder(Path(folder), TransferRecipe).to_resume(), **options)


def read_sources(
    plan: TransferRecipe, task: Task, backbone: Backbone
) -> tuple[dict[str, SourcePrompt], dict[str, str]]:
    """The library's prompts that the new task can start from, and why the others are left out.

    Prompts of vectors alone are one more start together: a mix of those of the commonest length.

    A prompt that has seen test rows of the new task, or was trained on its validation rows, is left
    out: its score on them would say nothing about new rows.
    """
    from cuecard.training.transfer.sources import MIX, SourcePrompt  # noqa: PLC0415

    found: dict[str, SourcePrompt] = {}
    left_out: dict[str, str] = {}
    lengths: dict[str, int] = {}
    for name, place in plan.library.items():
        try:
            prompts, shared = _prompts_of(Path(place), backbone)
            method = plan.starting_from(name).read_method()
        except (ArtifactError, ConfigError) as error:
            left_out[name] = error.what if error.got is None else f"{error.what}: {error.got}"
            continue
        why = _why_not(method, prompts, task)
        if why is None:
            found[name] = SourcePrompt(method, shared=shared)
            if not shared and prompts[0].is_plain:
                lengths[name] = len(prompts[0].vectors)
        else:
            left_out[name] = why
    mixed = _alike(lengths)
    if len(mixed) > 1 and issubclass(METHODS[plan.recipe.method["name"]], StartSettings):
        method = plan.mixing(mixed).read_method()
        found[MIX] = SourcePrompt(method, mixed=mixed)
    return found, left_out


def _alike(lengths: Mapping[str, int]) -> tuple[str, ...]:
    """The names of those that have the commonest length, of equals the largest."""
    counts = Counter(lengths.values())
    commonest = max(counts, key=lambda length: (counts[length], length), default=0)
    return tuple(name for name, length in lengths.items() if length == commonest)


def _prompts_of(place: Path, backbone: Backbone) -> tuple[list[Prompt], bool]:
    """The prompt of a folder, or those of the tasks that share what is there, and whether they do.

    Raises:
        WrongBackboneError: it was made for another backbone.
        ArtifactError: it cannot be read.
    """
    from cuecard.artifacts import Prompt, SharedPrompt, check_backbone, shared_folder  # noqa: PLC0415

    shared = shared_folder(place)
    if shared is None:
        prompt = Prompt.load(place)
        check_backbone(prompt.manifest.backbone, backbone, str(place))
        return [prompt], False
    SharedPrompt.load(shared, backbone)
    tasks = sorted(shared.parent.glob("tasks/*/prompt"))
    return [Prompt.load(folder) for folder in tasks], True


def _why_not(method: MethodSettings, prompts: Iterable[Prompt], task: Task) -> str | None:
    """Why a prompt is no start that can be scored; None where it is one."""
    if not method.warm_start:
        return "words or a head alone, without vectors"
    for prompt in prompts:
        seen = prompt.seen(task.test)
        if seen:
            count = len({*seen.trained, *seen.selected})
            return f"it was trained or selected on {count:,} of the {seen.rows:,} test rows"
        trained = prompt.seen(task.validation).trained
        if trained:
            return f"it was trained on {len(trained):,} of the validation rows"
    return None


def _trained(
    recipe: Recipe,
    task: Task,
    backbone: Backbone,
    method: MethodSettings,
    found: TransferFound,
    spent: State,
    place: RunFolder[TransferRecipe],
    observer: Observer | None,
) -> Outcome:
    """The run from the chosen start, which has the search's seconds, too."""
    from cuecard.comparison.reports import report_run  # noqa: PLC0415
    from cuecard.training.loop import stopped_in  # noqa: PLC0415
    from cuecard.training.setup import TrainSetup  # noqa: PLC0415
    from cuecard.training.train import Before, train_prompt  # noqa: PLC0415
    from cuecard.training.trainables.initial_method import suited_to  # noqa: PLC0415
    from cuecard.training.trainables.trainable import TrainablePrompt  # noqa: PLC0415

    folder, method = recipe.folder, suited_to(backbone, method)
    setup = TrainSetup.of(backbone, task, TrainablePrompt(method), recipe.training)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(recipe.to_yaml(), folder / RUN.file)
    try:
        run = train_prompt(
            setup,
            method,
            folder=folder,
            observer=observer,
            alongside=recipe.compare,
            before=Before({}, spent, {EVENT: asdict(found)}),
        )
    except Interrupted as stop:  # of a part, whose folder is not the one to resume
        raise stopped_in(stop.what, place.path, TRANSFER.command) from stop
    proof = report_run(
        backbone,
        task,
        run,
        folder,
        title=f"{recipe.data.name}, from {found.chosen}",
        resume=place.resume_command,
        compare=recipe.compare,
        demonstrations=recipe.demonstrations,
        observer=observer,
        what_else=what_else(recipe, folder),
        notes=(found.text,),
    )
    return Outcome(task, backbone, run, proof)
