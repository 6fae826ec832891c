"""A run in one piece: data, task, backbone, method and training, as a YAML file or flags say it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from cuecard.catalogue import Progress
from cuecard.errors import ConfigError
from cuecard.methods import MethodSettings, PromptTuning
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.folder import RunFolder
from cuecard.runs.recipe_file import RunRecipe
from cuecard.runs.recipe_method import (
    AUTO,
    check_rate,
    check_start_is_of,
    complete_method,
    read_method,
    with_method,
    without_race,
)
from cuecard.runs.recipe_sections import (
    AdapterFolder,
    BackboneName,
    ComputeType,
    DataRecipe,
    DeviceName,
    TaskRecipe,
    WeightForm,
)
from cuecard.runs.run_kinds import RUN
from cuecard.tasks.kinds import kind_named
from cuecard.tasks.readers.compressed import data_stem
from cuecard.tasks.shots import check_shots, few_shot_task
from cuecard.tasks.template import Template
from cuecard.tracking import ReportTo, TrackerName, with_trackers
from cuecard.training.config import (
    Budget,
    Keep,
    TrainConfig,
    check_no_budget,
    check_seeds,
    seeds_of,
    with_budget,
)
from cuecard.training.parallel.ranks import ALONE, Ranks
from cuecard.training.storage.log import Observer
from cuecard.training.trainables.lora import LORA_LR
from cuecard.types import Backbone

if TYPE_CHECKING:
    from cuecard.backbones.loading import Place
    from cuecard.comparison.prove import Proof
    from cuecard.evaluation.baselines.manual import ManualPrompt
    from cuecard.tasks import Task
    from cuecard.training.race.lora_found import LoraFound
    from cuecard.training.run import Run
    from cuecard.training.train_lora import LoraRun


class Recipe(RunRecipe):
    """Everything a run depends on."""

    KIND = RUN

    data: DataRecipe
    task: TaskRecipe = TaskRecipe()
    backbone: BackboneName = "smollm2-135m-instruct"
    dtype: ComputeType = "auto"
    quantize: WeightForm = "none"
    adapter: AdapterFolder = None
    device: DeviceName = "auto"
    method: dict[str, Any] = Field(
        default_factory=dict,
        validate_default=True,
        description="The method's name and its settings, see `cuecard methods`. By default auto: "
        "methods and rates race within training.budget; with settings, data.shots, training.lr or "
        "another optimizer but no name, prompt-tuning. A prompt to start from is a prompt's folder "
        "here, or a multitask run's.",
    )
    training: TrainConfig = Field(default=TrainConfig(), validate_default=True)
    seeds: int = Field(
        default=1,
        ge=1,
        description="Train with this many seeds, counted up from training.seed (with data.shots "
        "those of the few-shot protocol, each with its own rows), in shared passes, and report how "
        "their test scores differ. One prompt is kept, by validation rows.",
    )
    keep: Keep = Field(
        default="best",
        description="Which of several seeds' prompts is kept: the best on validation rows, or the "
        "average of their tensors where it does at least as well there. To be averaged they must "
        "start alike, as from a text.",
    )
    allow: tuple[Literal["lora"], ...] = Field(
        default=(),
        exclude_if=lambda given: not given,
        description="What else may race beside prompts: lora, a LoRA adapter of rank 8. Where it "
        "is clearly better on validation rows it is trained in place of a prompt.",
    )
    compare: bool = Field(
        default=True,
        description="Compare with hand-written prompts on the test rows. An encoder is compared "
        "with itself without the prompt.",
    )
    demonstrations: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None,
        description="How many solved rows the in-context prompts show. By default several numbers "
        "that suit the task; none of them for `[]`.",
    )
    report_to: ReportTo = ()
    out: str | None = Field(
        default=None, description="The run's folder; by default runs/ and the data's name."
    )

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path: the data, the backbone, an adapter, a prompt to start from."""
        named = (self.backbone, self.adapter, self.method.get("prompt"))
        named = (*named, *self.method.get("sources", ()))
        return (*self.data.paths, *(str(path) for path in named if path is not None))

    @model_validator(mode="before")
    @classmethod
    def _name_method(cls, values: Any) -> Any:
        return without_race(with_method(values))

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        """
        Raises:
            ConfigError: seeds or shots that cannot be trained like this.
        """
        drawn = self.data.shots is not None
        if drawn:
            check_shots(kind_named(self.task.kind))
        check_seeds(self.seeds, self.keep, self.training, shots=drawn)
        seeds_of(self.seeds, self.training, shots=drawn)
        if drawn and self.seeds > 1 and self.is_auto:
            raise ConfigError(
                "a race would choose one method by the rows of one draw",
                where="method",
                got=f"{AUTO}, with {self.data.shots} shots and {self.seeds} seeds",
                expected="a method by its name, such as prompt-tuning, or one seed",
            )
        return self

    @model_validator(mode="after")
    def _check_allowed(self) -> Self:
        """
        Raises:
            ConfigError: LoRA beside a method that is named, several seeds, a template with a place
                for a prompt, or weights that it cannot be merged into.
        """
        template = self.task.template if self.allow else None
        refused = {
            "a method by its name": not self.is_auto and self.method["name"],
            "several seeds": self.seeds > 1 and self.seeds,
            "quantised weights": self.quantize != "none" and self.quantize,
            "an adapter that is there already": self.adapter,
            "a template with a place for a prompt": template
            and Template(template).has_prompt
            and repr(template),
        }
        for what, got in refused.items():
            if self.allow and got:
                raise ConfigError(
                    f"LoRA does not race beside {what}",
                    where="allow",
                    got=f"{', '.join(self.allow)}, with {got}",
                    expected="a race of methods with one seed on plain weights, and no {prompt} in "
                    "the template",
                    hint="`cuecard lora` trains an adapter without a race",
                )
        return self

    @field_validator("training")
    @classmethod
    def _check_budget(cls, training: TrainConfig, seen: ValidationInfo) -> TrainConfig:
        """Steps that are given are the race's budget; in the file every default is given."""
        if seen.data.get("method", {}).get("name") != AUTO:
            check_no_budget(training)
            return training
        return with_budget(training)

    @field_validator("method")
    @classmethod
    def _complete_method(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Every default written out, but the learning rate's, which `training.lr` may replace.

        Raises:
            ConfigError: an unknown method or setting, with the nearest one.
        """
        return complete_method(values)

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        """
        Raises:
            ConfigError: the method and the training are given two rates.
        """
        if not self.is_auto:
            check_rate(self.method, self.training.lr)
        return self

    @property
    def folder(self) -> Path:
        """The run's folder."""
        if self.out:
            return Path(self.out)
        name = data_stem(self.data.path) or Path(self.data.path).name
        return Path("runs") / name.replace(" ", "-")

    def in_folder(self, folder: Path) -> Self:
        """The same recipe for another folder."""
        return self.model_copy(update={"out": str(folder)})

    def check_one_seed(self, command: str) -> None:
        """
        Raises:
            ConfigError: several seeds, for a command that trains with one.
        """
        if self.seeds > 1:
            raise ConfigError(
                f"{command} trains with one seed",
                where="seeds",
                got=self.seeds,
                expected="1",
                hint="several seeds are a setting of cuecard train alone",
            )

    def read_task(self, progress: Progress | None = None) -> Task:
        """The task with its data: all of them where several seeds draw few rows each.

        Raises:
            DataError: the data cannot be used.
            ConfigError: settings that contradict each other.
        """
        # What reads data and finds backbones, only now: help needs the settings alone.
        from cuecard.names import data_source  # noqa: PLC0415
        from cuecard.tasks import Task  # noqa: PLC0415

        data, task = self.data, self.task
        own: Any = task.model_extra  # the kind's own settings
        found = Task.from_file(
            data_source(data.path, progress),
            template=task.template,
            labels=task.labels,
            text_field=data.text_field,
            label_field=data.label_field,
            validation=data.validation,
            test=data.test,
            split_field=data.split_field,
            kind=task.kind,
            group_field=data.group_field,
            seed=data.split_seed,
            split=data.split,
            limit=data.limit,
            held_out_limit=data.held_out_limit,
            chat=task.chat,
            system=task.system,
            words=task.words,
            max_length=task.max_length,
            normalize=task.normalize,
            max_new_tokens=task.max_new_tokens,
            stop=task.stop,
            head="none" if task.head == "auto" else task.head,
            allow_empty=data.allow_empty,
            **own,
        )
        return found if self.seeds > 1 else self.drawn(found, self.training.seed)

    def drawn(self, task: Task, seed: int) -> Task:
        """The rows of a seed: few of each label, or all.

        Raises:
            DataError: a label without rows enough.
            ConfigError: a task whose rows do not have one label each.
        """
        return task if self.data.shots is None else few_shot_task(task, self.data.shots, seed)

    @property
    def is_auto(self) -> bool:
        """Whether methods and rates race for the run."""
        return bool(self.method["name"] == AUTO)

    def advice(self, task: Task) -> str:
        """What measurements elsewhere say against its way, where rows are few; empty for nothing.

        See `cuecard advise`.
        """
        from cuecard.evaluation.measured import advise_few_rows  # noqa: PLC0415

        budget = Budget.parse(str(self.training.budget)).seconds if self.is_auto else None
        return advise_few_rows(task, self.backbone, budget, str(self.method["name"]))

    def load_backbone(self, progress: Progress | None = None, ranks: Ranks = ALONE) -> Backbone:
        """The backbone.

        Args:
            ranks: the processes that load it; each has a device of its own, and all of the weights
                or its part of them.

        Raises:
            BackboneError: it cannot be had, or not like this.
            CatalogueError: a catalogue backbone that cannot be fetched.
            ConfigError: a device that weights are not sharded on.
            WrongBackboneError: the start that was learnt for prompts is another backbone's.
        """
        from cuecard.names import load_backbone  # noqa: PLC0415

        found = load_backbone(
            self.backbone,
            dtype=self.dtype,
            device=ranks.own_device or self.device,
            quantize=self.quantize,
            adapter=self.adapter,
            progress=progress,
            place=_placing(ranks),
        )
        check_start_is_of(found, self.method)
        return found

    def read_method(self) -> MethodSettings:
        """The method's settings, with the numbers of the prompt to start from.

        Raises:
            ArtifactError: that prompt cannot be read.
            ConfigError: settings that contradict each other.
        """
        if self.is_auto:
            raise ConfigError(
                "only `cuecard train` chooses the method itself",
                where="method",
                got=AUTO,
                expected=f"a method by its name, such as {PromptTuning.name}",
            )
        return read_method(self.method)


class AroundRecipe(RunRecipe):
    """What goes round a run's recipe, such as a sweep, in the folder that this one names.

    Attributes:
        recipe: the run's, of prompt tuning where it names no method; its `out` is the folder.
    """

    recipe: Annotated[
        Recipe, BeforeValidator(lambda values: with_method(values, PromptTuning.name))
    ]

    @classmethod
    def folder_of(cls, recipe: Recipe) -> Path:
        """Its `out`; by default runs/, the data's name, and the command's after a hyphen."""
        folder, ending = recipe.folder, cls.KIND.command.removeprefix("cuecard ")
        return folder if recipe.out else folder.with_name(f"{folder.name}-{ending}")

    @property
    def folder(self) -> Path:
        """See `folder_of`."""
        return self.folder_of(self.recipe)

    @property
    def report_to(self) -> tuple[TrackerName, ...]:
        """The trackers that it reports to."""
        return self.recipe.report_to

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        return self.recipe.paths

    def in_folder(self, folder: Path) -> Self:
        """The same recipe for another folder."""
        return self.model_copy(update={"recipe": self.recipe.in_folder(folder)})


@dataclass(frozen=True)
class Outcome:
    """What a recipe led to.

    Attributes:
        task, backbone: what it was run on.
        run: the trained prompt and its scores; an adapter's where the recipe allows LoRA and it is
            clearly better.
        proof: the comparison; None without test rows, with `compare: false` or for an adapter.
        lora: how LoRA did in the race; None where it is not allowed.
    """

    task: Task
    backbone: Backbone
    run: Run | LoraRun
    proof: Proof | None
    lora: LoraFound | None = None

    def _repr_html_(self) -> str:
        return "".join(one._repr_html_() for one in (self.run, self.proof) if one is not None)


@with_progress_bar
@with_trackers
def run_recipe(
    recipe: Recipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    manual: Sequence[ManualPrompt] | None = None,
    ranks: Ranks = ALONE,
) -> Outcome:
    """Train, test and compare as the recipe says; the run's folder holds everything.

    Everything that can be refused is refused before the folder is made. A run of the same recipe in
    the folder is resumed; if it is finished, its result is read and nothing is run.

    Args:
        observer: called with every event; by default a progress bar in a terminal or a notebook.
        overwrite: start again where the folder holds another run.
        manual: the zero-shot prompts to compare with; made from the task by default.
        ranks: the processes that train it together; the others call `share_recipe`.

    Raises:
        ConfigError: the folder holds another run; which settings differ is said.
        TrainingError: another process uses the folder.
        CuecardError: see `Task.from_file`, `load_backbone`, `TrainSetup.of`, `train` and `prove`.
    """
    claim = RunFolder.of(recipe)
    claim.check(recipe, overwrite=overwrite)
    check_shared(recipe, ranks.size, shards=ranks.shards)
    task = recipe.read_task(progress)
    method = None if recipe.is_auto else recipe.read_method()
    fresh = not (recipe.folder / RUN.done).exists()
    if observer is not None and fresh and (advised := recipe.advice(task)):
        observer({"event": "advice", "text": advised})
    backbone = recipe.load_backbone(progress, ranks)
    # What reports, only now: a mistake in what is named need not wait for it.
    from cuecard.comparison.reports import report_run  # noqa: PLC0415
    from cuecard.training.run import Run  # noqa: PLC0415

    fits, train = _training(recipe, backbone, task, method, observer, ranks)
    with claim.claimed(recipe, overwrite=overwrite, fits=fits) as folder:
        run, lora = train()
        if not isinstance(run, Run):
            return Outcome(task, backbone, run, None, lora)
        seed = run.prompt.manifest.seed
        if recipe.seeds > 1 and seed is not None:
            task = recipe.drawn(task, seed)
        # The head that won the race, if one did.
        task = replace(task, spec=task.spec.with_head(run.prompt.spec.head))
        proof = report_run(
            backbone,
            task,
            run,
            folder,
            title=recipe.data.name,
            resume=claim.resume_command,
            compare=recipe.compare,
            demonstrations=recipe.demonstrations,
            manual=manual,
            observer=observer,
            what_else=what_else(recipe, folder),
            notes=() if lora is None else (lora.text,),
        )
    return Outcome(task, backbone, run, proof, lora)


def _training(
    recipe: Recipe,
    backbone: Backbone,
    task: Task,
    method: MethodSettings | None,
    observer: Observer | None,
    ranks: Ranks,
) -> tuple[Callable[[Path], None], Callable[[], tuple[Run | LoraRun, LoraFound | None]]]:
    """What checks that the run's folder is its own, and what trains; every check has passed.

    Without a method, methods race.
    """
    from cuecard.training.race.runner import RaceRunner  # noqa: PLC0415
    from cuecard.training.race.several_seeds import RaceOfSeeds  # noqa: PLC0415
    from cuecard.training.race.with_lora import RaceWithLora  # noqa: PLC0415
    from cuecard.training.seeds import SeedTraining  # noqa: PLC0415
    from cuecard.training.setup import TrainSetup  # noqa: PLC0415
    from cuecard.training.train import train_prompt  # noqa: PLC0415
    from cuecard.training.trainables.initial_method import suited_to  # noqa: PLC0415
    from cuecard.training.trainables.trainable import TrainablePrompt  # noqa: PLC0415

    config = recipe.training
    kept: dict[str, Any] = {"folder": recipe.folder, "observer": observer}
    seeds: dict[str, Any] = {"seeds": recipe.seeds, "keep": recipe.keep}
    heads = recipe.task.heads_race
    if method is None and recipe.seeds > 1:
        raced = RaceOfSeeds(backbone, task, config, heads=heads, **seeds, **kept)
        return raced.fits, lambda: (raced.run().kept, None)
    if method is None and recipe.allow:
        alongside = recipe.compare
        both = RaceWithLora(backbone, task, config, heads=heads, **kept, alongside=alongside)
        return both.fits, both.run
    if method is None:
        race = RaceRunner(backbone, task, config, heads=heads)
        alongside = recipe.compare
        return race.fits, lambda: (race.run(recipe.folder, observer, alongside=alongside), None)
    method = suited_to(backbone, method)
    if recipe.seeds == 1:
        setup = TrainSetup.of(backbone, task, TrainablePrompt(method), config).among(ranks)
        kept["alongside"] = recipe.compare
        return setup.fits, lambda: (train_prompt(setup, method, **kept), None)
    shots = recipe.data.shots
    several = SeedTraining(backbone, task, method, config, **seeds, **kept, shots=shots)
    return several.fits, lambda: (several.run().kept, None)


def share_recipe(recipe: Recipe, ranks: Ranks) -> None:
    """Train a recipe's run together with the process that calls `run_recipe`; nothing is kept.

    Raises:
        CuecardError: see `run_recipe` and `train_share`.
    """
    from cuecard.training.setup import TrainSetup  # noqa: PLC0415
    from cuecard.training.train import train_share  # noqa: PLC0415
    from cuecard.training.trainables.initial_method import suited_to  # noqa: PLC0415
    from cuecard.training.trainables.trainable import TrainablePrompt  # noqa: PLC0415

    check_shared(recipe, ranks.size, shards=ranks.shards)
    task, method = recipe.read_task(), recipe.read_method()
    backbone = recipe.load_backbone(ranks=ranks)
    prompt = TrainablePrompt(suited_to(backbone, method))
    train_share(TrainSetup.of(backbone, task, prompt, recipe.training).among(ranks))


def _placing(ranks: Ranks) -> Place | None:
    """What shards a backbone among the processes; None where each holds all of it."""
    if not ranks.shards:
        return None
    from cuecard.training.parallel.sharding import ShardedLayers  # noqa: PLC0415

    return ShardedLayers(ranks).place


def check_shared(recipe: Recipe, processes: int, *, shards: bool = False) -> None:
    """
    Args:
        shards: whether they shard the backbone among them.

    Raises:
        ConfigError: several runs, which one process trains in shared passes, for several processes;
            or a backbone that is sharded among one, or whose weights are not plain.
    """
    _check_sharded(recipe, processes, shards)
    several = "a race of methods" if recipe.is_auto else f"{recipe.seeds} seeds"
    if processes > 1 and (recipe.is_auto or recipe.seeds > 1):
        raise ConfigError(
            "several processes train one prompt together, and not several",
            where="method" if recipe.is_auto else "seeds",
            got=f"{several}, with {processes} processes",
            expected="a method by its name, such as --method prompt-tuning, and one seed",
            hint="`cuecard sweep --shard` shares trials out among processes",
        )


def _check_sharded(recipe: Recipe, processes: int, shards: bool) -> None:
    refused = {
        "one process": (processes == 1, "--launch N, or torchrun"),
        f"weights held as {recipe.quantize}": (recipe.quantize != "none", "no --quantize"),
    }
    for got, (found, expected) in refused.items():
        if shards and found:
            raise ConfigError(
                "a backbone is sharded among several processes, with its weights as they are",
                where="--shard-backbone",
                got=got,
                expected=expected,
            )


def what_else(recipe: Recipe, folder: Path) -> str:
    """What may do better than a recipe's run, as the end of a sentence.

    Args:
        folder: the run's.
    """
    if kind_named(recipe.task.kind).tower != "text":
        return "more rows, a longer training or another method or rate may help"
    race = "a larger --budget" if recipe.is_auto else "a race of methods (`--method auto --budget`)"
    template = recipe.task.template or ""
    if recipe.adapter or recipe.quantize != "none" or "{prompt" in template or recipe.allow:
        return f"{race} or more rows may help"  # an adapter cannot be trained, or has raced
    file, out = (shlex.quote(str(path)) for path in (folder / RUN.file, f"{folder}-lora"))
    flags = "" if recipe.training.lr is None else f" --lr {LORA_LR:g}"  # not the prompt's
    flags += " --head trained" if recipe.task.head == "pooled" else ""  # it changes the inputs
    command = f"cuecard lora --recipe {file}{flags} --out {out}"
    words = kind_named(recipe.task.kind).head_is_optional and recipe.task.head == "none"
    head = ", a head instead of label words (`--head trained`)" if words else ""
    return f"{race}, more rows{head} or a LoRA adapter may help (`{command}`)"


def resume(folder: str | Path, **options: Any) -> Outcome:
    """Resume the run in a folder; options as in `run_recipe`.

    Raises:
        TrainingError: there is no run.
    """
    return run_recipe(RunFolder(Path(folder), Recipe).to_resume(), **options)
