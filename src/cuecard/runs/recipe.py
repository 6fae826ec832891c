"""A run in one piece: data, task, backbone, method and training, as a YAML file or flags say it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from cuecard.backbones.quantization.forms import Precision, Quantize
from cuecard.catalogue import Progress
from cuecard.errors import ConfigError
from cuecard.methods import MethodSettings, PromptTuning, method_settings
from cuecard.methods.settings import UNREAD
from cuecard.names import data_source, load_backbone
from cuecard.progress_bar import watched
from cuecard.runs.folder import RUN, RunFolder
from cuecard.settings import parse_settings
from cuecard.tasks import Task
from cuecard.tasks.kinds import KindName
from cuecard.training.config import TrainConfig
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone
from cuecard.validation_text import shown
from cuecard.yaml_files import DuplicateKeyError, load_yaml

if TYPE_CHECKING:
    from cuecard.comparison.prove import Proof
    from cuecard.evaluation.manual import ManualPrompt
    from cuecard.training.train import Run

FILE = RUN.file


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataRecipe(_Section):
    """Where the records are; see `Task.from_file`.

    `label_field` is the kind's usual column by default. `split_seed` is not `training.seed`: runs
    with different seeds are tested on the same rows. `group_field` is chosen from the template's
    fields by default; "none" splits row by row.
    """

    path: str
    text_field: str | None = None
    label_field: str | None = None
    validation: str | None = None
    test: str | None = None
    split_field: str | None = None
    split: tuple[float, float, float] = (0.8, 0.1, 0.1)
    split_seed: int = Field(default=0, ge=0)
    group_field: str | None = None
    limit: int | None = Field(default=None, ge=1)
    allow_empty: tuple[str, ...] = ()

    @field_validator("split_seed", mode="before")
    @classmethod
    def _older(cls, value: object) -> object:
        """Recipes written when it could be left open say null."""
        return 0 if value is None else value

    @property
    def name(self) -> str:
        """What reports call the data: a file's or folder's name, or what else it is named."""
        return Path(self.path).name if Path(self.path).exists() else self.path


class TaskRecipe(_Section):
    """What is asked; see `TaskSpec`."""

    kind: KindName = "classification"
    head: Literal["none", "trained"] = "none"
    template: str | None = None
    labels: tuple[str, ...] | None = None
    words: dict[str, str] = Field(default_factory=dict)
    chat: bool = False
    system: str | None = None
    max_length: int = Field(default=512, gt=0)
    normalize: Literal["none", "length"] = "none"
    max_new_tokens: int = Field(default=64, gt=0)
    separator: str = ","
    options_field: str = "options"
    subword: Literal["first", "last"] = "first"


class Recipe(_Section):
    """Everything a run depends on.

    Attributes:
        backbone: a catalogue name, a local folder or a hub id.
        quantize: the form its linear layers' weights are held in; see `load_backbone`.
        adapter: a LoRA adapter's folder, merged into the backbone; None for none.
        method: the method's `name` and its settings, see `cuecard methods`; a `prompt` to start
            from is a prompt's folder here, or a multitask run's.
        compare: whether to compare with hand-written prompts on the test rows, or an encoder with
            itself without the prompt.
        demonstrations: how many solved rows the in-context prompts show: several numbers suited to
            the task where it is not said, none of them for `[]`.
        out: the run's folder; runs/ and the data's name by default.
    """

    data: DataRecipe
    task: TaskRecipe = TaskRecipe()
    backbone: str = "smollm2-135m-instruct"
    dtype: Precision = "auto"
    quantize: Quantize = "none"
    adapter: str | None = None
    device: str = "auto"
    method: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    training: TrainConfig = TrainConfig()
    compare: bool = True
    demonstrations: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    out: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path: the data, the backbone, an adapter, a prompt to start from."""
        data = self.data
        named = (data.path, data.validation, data.test, self.backbone, self.adapter)
        return tuple(str(x) for x in (*named, self.method.get("prompt")) if x is not None)

    @field_validator("method")
    @classmethod
    def _complete_method(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Every default written out.

        Raises:
            ConfigError: an unknown method or setting, with the nearest one.
        """
        name = values.get("name", PromptTuning.name)
        given = {k: v for k, v in values.items() if k != "name"}
        start = given.pop("prompt", None)
        if start is not None:
            if not isinstance(start, str):
                raise ConfigError(
                    "a start that is no folder",
                    where="the recipe, method.prompt",
                    got=repr(start),
                    expected="a prompt's or a run's folder",
                )
            given["prompt"] = UNREAD
        checked = method_settings(name, given, "the recipe, method")
        return {"name": name, **checked.model_dump(mode="json"), "prompt": start}

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "the recipe") -> Recipe:
        """Check a nested mapping.

        Raises:
            ConfigError: an unknown key, with the nearest valid one, or a value that does not fit.
        """
        return parse_settings(cls, values, where)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        if self.out:
            return Path(self.out)
        name = Path(self.data.path).stem or Path(self.data.path).name
        return Path("runs") / name.replace(" ", "-")

    def to_yaml(self) -> str:
        """The recipe with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def read_task(self, progress: Progress | None = None) -> Task:
        """The task with its data.

        Raises:
            DataError: the data cannot be used.
            ConfigError: settings that contradict each other.
        """
        data, task = self.data, self.task
        return Task.from_file(
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
            chat=task.chat,
            system=task.system,
            words=task.words,
            max_length=task.max_length,
            normalize=task.normalize,
            max_new_tokens=task.max_new_tokens,
            head=task.head,
            separator=task.separator,
            options_field=task.options_field,
            subword=task.subword,
            allow_empty=data.allow_empty,
        )

    def load_backbone(self, progress: Progress | None = None) -> Backbone:
        """The backbone.

        Raises:
            BackboneError: it cannot be had, or not like this.
            CatalogueError: a catalogue backbone that cannot be fetched.
        """
        return load_backbone(
            self.backbone,
            dtype=self.dtype,
            device=self.device,
            quantize=self.quantize,
            adapter=self.adapter,
            progress=progress,
        )

    def read_method(self) -> MethodSettings:
        """The method's settings, with the numbers of the prompt to start from.

        Raises:
            ArtifactError: that prompt cannot be read.
            ConfigError: settings that contradict each other.
        """
        settings = {k: v for k, v in self.method.items() if k not in ("name", "prompt")}
        start = self.method["prompt"]
        if start is not None:
            from cuecard.artifacts import Prompt, SharedPrompt, shared_folder  # noqa: PLC0415
            from cuecard.artifacts.tensors import DECODER_NAME  # noqa: PLC0415

            shared = shared_folder(start)
            if shared is not None:
                settings["prompt"] = SharedPrompt.load(shared).start()
                return method_settings(self.method["name"], settings, "the recipe, method")
            prompt = Prompt.load(prompt_folder(start))
            settings["prompt"] = prompt.vectors
            if DECODER_NAME in prompt.tensors and settings.get("decoder_length"):
                settings["decoder_prompt"] = prompt.tensors[DECODER_NAME]
        return method_settings(self.method["name"], settings, "the recipe, method")


@dataclass(frozen=True)
class Outcome:
    """What a recipe led to.

    Attributes:
        task, backbone: what it was run on.
        run: the trained prompt and its scores.
        proof: the comparison; None without test rows or with `compare: false`.
    """

    task: Task
    backbone: Backbone
    run: Run
    proof: Proof | None


def read_recipe(path: str | Path) -> dict[str, Any]:
    """A YAML file as a nested mapping, not yet checked.

    Raises:
        ConfigError: no such file, no YAML, or no mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("the recipe cannot be read", where=str(path), got=str(error)) from error
    try:
        found = load_yaml(text)
    except yaml.YAMLError as error:
        got = " ".join(str(error).split())
        raise ConfigError("the recipe is not YAML", where=str(path), got=got) from error
    except DuplicateKeyError as error:
        raise ConfigError(
            "a key is given twice",
            where=f"{path}, line {error.line}",
            got=error.key,
            expected="each key once",
            hint=f"the first one is in line {error.first}: remove one of them",
        ) from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ConfigError(
            "the recipe is not a mapping",
            where=str(path),
            got="nothing" if found is None else shown(found),
            expected=f"keys among {', '.join(sorted(Recipe.model_fields))}",
        )
    return found


@watched
def run_recipe(
    recipe: Recipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    manual: Sequence[ManualPrompt] | None = None,
) -> Outcome:
    """Train, test and compare as the recipe says; the run's folder holds everything.

    Everything that can be refused is refused before the folder is made. A folder with a run of the
    same recipe is gone on with; if the run is finished, its result is read and nothing is run.

    Args:
        observer: called with every event; by default a progress bar in a terminal or a notebook.
        overwrite: start again where the folder holds another run.
        manual: the zero-shot prompts to compare with; made from the task by default.

    Raises:
        ConfigError: the folder holds another run; which settings differ is said.
        TrainingError: another process uses the folder.
        CuecardError: see `Task.from_file`, `load_backbone`, `check_run`, `train` and `prove`.
    """
    claim = place(recipe.folder)
    claim.check(recipe, overwrite=overwrite)
    task = recipe.read_task(progress)
    method = recipe.read_method()
    # What trains and reports, only now: a mistake in the data need not wait for it.
    from cuecard.comparison.reports import report_run  # noqa: PLC0415
    from cuecard.training.checks import check_run  # noqa: PLC0415
    from cuecard.training.train import check_checkpoint, train_checked  # noqa: PLC0415

    backbone = recipe.load_backbone(progress)
    checked = check_run(backbone, task, method, recipe.training)
    claimed = claim.claimed(
        recipe,
        recipe.to_yaml(),
        overwrite=overwrite,
        fits=lambda folder: check_checkpoint(checked, folder),
    )
    with claimed as folder:
        run = train_checked(checked, folder=folder, observer=observer)
        proof = report_run(
            backbone,
            task,
            run,
            folder,
            title=recipe.data.name,
            resume=f"{RUN.command} --resume {shlex.quote(str(folder))}",
            compare=recipe.compare,
            demonstrations=recipe.demonstrations,
            manual=manual,
            observer=observer,
        )
    return Outcome(task, backbone, run, proof)


def resume(folder: str | Path, **options: Any) -> Outcome:
    """Go on with the run in a folder; options as in `run_recipe`.

    Raises:
        TrainingError: there is no run.
    """
    found = place(Path(folder))
    found.must_exist()
    values = read_recipe(found.file) | {"out": str(folder)}
    recipe = Recipe.parse(values, str(found.file))
    found.must_find(recipe.paths)
    return run_recipe(recipe, **options)


def prompt_folder(path: str | Path) -> Path:
    """The prompt's folder of a run, or the path itself."""
    inner = Path(path) / "prompt"
    return inner if (inner / "prompt.json").is_file() else Path(path)


def place(folder: Path) -> RunFolder:
    """A folder for a run of a recipe."""
    return RunFolder(folder, RUN, lambda path: Recipe.parse(read_recipe(path), str(path)))
