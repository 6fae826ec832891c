"""`cuecard lora`: train a LoRA adapter, alone or with a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.options import RESUME, Overwrite
from cuecard.cli.recipe_flags import RECIPE, Given, refuse
from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import say, say_line
from cuecard.cli.views.usage_line import predict_command
from cuecard.training.trainables.lora import LoraSettings

if TYPE_CHECKING:
    from cuecard.training import LoraRun


# What a run's recipe says of its prompt alone: that run's recipe is this one's, too.
_OF_PROMPTS = ("method", "seeds", "keep", "training.budget", "allow")
LORA = Fields(
    LoraSettings,
    {"rank": Flag(), "alpha": Flag(), "targets": Flag(metavar="NAMES"), "rslora": Flag()},
    titles=dict.fromkeys(LoraSettings.model_fields, "LoRA"),
)


def lora(
    given: Annotated[Given, RECIPE],
    own: Annotated[Asked[LoraSettings], LORA],
    prompt: Annotated[
        Path | None,
        typer.Option(metavar="PROMPT", help="A prompt to put in front: its folder, or its run's."),
    ] = None,
    resume_folder: Annotated[Path | None, RESUME] = None,
    overwrite: Overwrite = False,
    registry: RegistryPlace = DEFAULT_REGISTRY,
    as_json: Json = False,
) -> None:
    r"""Train a LoRA adapter on a task's rows, alone or together with a frozen prompt.

    Takes the data and training settings of `cuecard train`, or with --recipe those of its run; the
    method's do not apply. The folder (`--out`, by default runs/DATA-lora) gets `adapter`, which
    PEFT and `--adapter` load, and `prompt`: the task as `predict`, `eval` and `serve` take it,
    bound to the backbone with the adapter, with the vectors of --prompt or none. The same command
    again resumes a stopped run.

    Example: cuecard lora tickets.csv --text-field message --label-field team --rank 8

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the checkpoint is saved).
    """
    from cuecard.cli.views.progress import TrainView, fetch_progress
    from cuecard.runs.lora_recipe import LoraRecipe, resume_lora, run_lora

    if resume_folder is not None:
        mine = {"--prompt": prompt is not None, "--overwrite": overwrite}
        more = [flag for flag in mine if mine[flag]]
        refuse([*given.flags.values(), *own.flags.values(), *more], "a LoRA run")
        with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
            outcome = resume_lora(resume_folder, observer=view, progress=progress)
    else:
        plan = LoraRecipe(
            recipe=given.recipe("cuecard lora", unused=_OF_PROMPTS),
            lora=own.settings(),
            prompt=None if prompt is None else _folder_of(prompt, registry),
        )
        with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
            outcome = run_lora(plan, observer=view, progress=progress, overwrite=overwrite)
    print_json(_summary(outcome.run)) if as_json else _print(outcome.run)


def _folder_of(prompt: Path, registry: str) -> str:
    # Training alone needs neither prompts nor a registry.
    from cuecard.saved_prompts import find_prompt

    return str(find_prompt(prompt, registry).folder)


def _summary(run: LoraRun) -> dict[str, Any]:
    from cuecard.evaluation.report import plain

    found: dict[str, Any] = {
        "event": "result",
        "folder": run.folder,
        "adapter": run.adapter.digest,
        "prompt": run.prompt.digest,
        "trained": run.trained,
        "lr": run.lr,
        "steps": run.steps,
        "best_step": run.best_step,
        "validation": run.validation,
        "alarm": run.alarm,
    }
    if run.test is not None:
        found["test"] = run.test.to_dict()
    return dict(plain(found))


def _print(run: LoraRun) -> None:
    from cuecard.cli.views.evaluation import in_words

    out = console()
    if run.test is not None:
        say(out, in_words(run.test, "test row"))
    say_line(out, f"adapter {run.folder}/adapter  ({run.trained:,} numbers)")
    say_line(out, f"digest  {run.adapter.digest}")
    say_line(out, f"use it  {predict_command(run.prompt.spec, str(run.folder))}")
