"""A LoRA run in one piece: a recipe for the data, task and training, and what the adapter is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuecard.catalogue import Progress
from cuecard.errors import ConfigError
from cuecard.methods import PromptTuning
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.folder import RunFolder
from cuecard.runs.recipe import AroundRecipe
from cuecard.runs.recipe_method import complete_method, prompt_folder
from cuecard.runs.run_kinds import LORA
from cuecard.tracking import with_trackers
from cuecard.training.storage.log import Observer
from cuecard.training.trainables.lora import LoraSettings
from cuecard.types import Backbone

if TYPE_CHECKING:
    from cuecard.artifacts import Prompt
    from cuecard.tasks import Task
    from cuecard.training.train_lora import LoraRun


class LoraRecipe(AroundRecipe):
    """Everything a LoRA run depends on.

    Attributes:
        recipe: data, task, backbone and training; its method is not used. `recipe.out` is the run's
            folder.
        lora: the adapter's settings.
        prompt: the folder of a prompt, or of its run, that is added to every input; None for none.
    """

    KIND = LORA

    lora: LoraSettings = LoraSettings()
    prompt: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        return (*self.recipe.paths, *(() if self.prompt is None else (self.prompt,)))

    def read_prompt(self) -> Prompt | None:
        """The prompt that is added to every input.

        Raises:
            ArtifactError: it cannot be read.
        """
        if self.prompt is None:
            return None
        from cuecard.artifacts import Prompt  # noqa: PLC0415

        return Prompt.load(prompt_folder(self.prompt))


@dataclass(frozen=True)
class LoraOutcome:
    """What a LoRA recipe led to."""

    task: Task
    backbone: Backbone
    run: LoraRun


@with_progress_bar
@with_trackers
def run_lora(
    plan: LoraRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> LoraOutcome:
    """Train an adapter as the recipe says; the run's folder holds everything.

    Everything that can be refused is refused before the folder is made. A run of the same recipe in
    the folder is resumed; if it is finished, its result is read and nothing is run.

    Args:
        overwrite: start again where the folder holds another run.

    Raises:
        CuecardError: see `Task.from_file`, `load_backbone`, `lora_setup` and `train_lora`.
    """
    recipe, place = plan.recipe, RunFolder.of(plan)
    recipe.check_one_seed("a LoRA run")
    if recipe.method != complete_method({"name": PromptTuning.name}):
        raise ConfigError(
            "a LoRA run trains an adapter, not a prompt",
            where="cuecard lora",
            got=str(recipe.method["name"]),
            expected="no --method, --length, --init or --slot; a trained prompt with --prompt",
        )
    place.check(plan, overwrite=overwrite)
    prompt = plan.read_prompt()
    task = recipe.read_task(progress)
    backbone = recipe.load_backbone(progress)
    # What trains, only now: a mistake in what is named need not wait for it.
    from cuecard.training.train_lora import (  # noqa: PLC0415
        TrainableAdapter,
        lora_setup,
        train_adapter,
    )

    adapter = TrainableAdapter(plan.lora, prompt)
    setup = lora_setup(backbone, task, adapter, recipe.training)
    with place.claimed(plan, overwrite=overwrite, fits=setup.fits) as folder:
        run = train_adapter(setup, adapter, folder=folder, observer=observer)
    return LoraOutcome(task, backbone, run)


def resume_lora(folder: str | Path, **options: Any) -> LoraOutcome:
    """Resume the run in a folder; options as in `run_lora`.

    Raises:
        TrainingError: there is no such run.
    """
    return run_lora(RunFolder(Path(folder), LoraRecipe).to_resume(), **options)
