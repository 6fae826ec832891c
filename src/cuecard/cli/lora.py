"""`cuecard lora`: a LoRA adapter trained as a prompt is, alone or behind one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cuecard.cli.console import Json, console, print_json
from cuecard.cli.options import listed
from cuecard.cli.recipe_flags import Given, takes_recipe
from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace
from cuecard.cli.tables import say, say_line
from cuecard.cli.usage_line import command_line, predict_command
from cuecard.errors import ConfigError

if TYPE_CHECKING:
    from cuecard.recipe import Recipe
    from cuecard.training import LoraRun


@takes_recipe
def lora(
    given: Given,
    rank: Annotated[int | None, typer.Option(help="Of every update.  [8]")] = None,
    alpha: Annotated[float | None, typer.Option(help="Updates scale by alpha/rank.  [16]")] = None,
    targets: Annotated[
        str | None,
        typer.Option(help="Layers' names, separated by commas, such as q_proj.  [all-linear]"),
    ] = None,
    rslora: Annotated[
        bool, typer.Option("--rslora", help="Scale by alpha over the root of the rank.")
    ] = False,
    prompt: Annotated[
        Path | None,
        typer.Option(metavar="PROMPT", help="A run's or prompt's folder, to stand in front."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start again in a folder that holds another run.")
    ] = False,
    registry: RegistryPlace = DEFAULT_REGISTRY,
    as_json: Json = False,
) -> None:
    r"""Train a LoRA adapter on the rows of a task, alone or behind a prompt that stays as it is.

    Takes the data and training settings of `cuecard train`; the method's do not apply. The folder
    (`--out`, by default runs/DATA-lora) gets `adapter`, which PEFT and `--adapter` load, and with
    --prompt the `prompt`, bound to the backbone with the adapter. The same command again goes on
    with a run that was stopped.

    Example: cuecard lora tickets.csv --text-field message --label-field team --rank 8

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the checkpoint is saved).
    """
    from cuecard.artifacts import Prompt
    from cuecard.cli.opening import find_prompt
    from cuecard.cli.progress import TrainView, fetch_progress
    from cuecard.settings import parse_settings
    from cuecard.training import LoraSettings
    from cuecard.training.train_lora import train_lora

    plan = given.recipe("cuecard lora")
    own = {"rank": rank, "alpha": alpha, "targets": targets and _targets(targets)}
    values = {name: value for name, value in own.items() if value is not None}
    settings = parse_settings(LoraSettings, values | {"rslora": rslora}, "the command line")
    _refuse_methods(plan)
    folder = Path(plan.out) if plan.out else plan.folder.with_name(f"{plan.folder.name}-lora")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(
            "the run's folder is a file", where=str(folder), expected="a new name: --out"
        )
    front = None if prompt is None else Prompt.load(find_prompt(prompt, registry).folder)
    with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
        task = plan.read_task(progress)
        backbone = plan.load_backbone(progress)
        if overwrite:
            for name in ("checkpoint.pt", "log.jsonl"):
                (folder / name).unlink(missing_ok=True)
        run = train_lora(
            backbone,
            task,
            settings,
            plan.training,
            prompt=front,
            folder=folder,
            observer=view,
        )
    print_json(_summary(run)) if as_json else _print(run, plan)


def _targets(text: str) -> str | tuple[str, ...]:
    return text if text == "all-linear" else listed(text)


def _refuse_methods(plan: Recipe) -> None:
    from cuecard.recipe import Recipe

    if plan.method != Recipe.parse({"data": {"path": ""}}).method:
        raise ConfigError(
            "a prompt's method beside a LoRA adapter",
            where="cuecard lora",
            got=str(plan.method["name"]),
            expected="no --method, --length, --init or --slot; a trained prompt with --prompt",
        )


def _summary(run: LoraRun) -> dict[str, Any]:
    from cuecard.evaluation.report import plain

    found: dict[str, Any] = {
        "event": "result",
        "folder": run.folder,
        "adapter": run.adapter.digest,
        "prompt": None if run.prompt is None else run.prompt.digest,
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


def _print(run: LoraRun, plan: Recipe) -> None:
    out = console()
    if run.test is not None:
        rows = len(run.test.records)
        say(out, f"{run.test.primary} {run.test.score:.3f} on {rows:,} test rows")
    say_line(out, f"adapter {run.folder}/adapter  ({run.trained:,} numbers)")
    say_line(out, f"digest  {run.adapter.digest}")
    with_it = ("--backbone", plan.backbone, "--adapter", f"{run.folder}/adapter")
    if run.prompt is None:
        say_line(out, f"a prompt on top  {command_line('cuecard', 'train', 'DATA', *with_it)}")
    else:
        words = predict_command(run.prompt.spec, f"{run.folder}/prompt", *with_it)
        say_line(out, f"use them  {words}")
