"""`cuecard advise`: a recommendation before anything is trained, or after some minutes of it."""

from __future__ import annotations

from typing import Annotated

import typer

from cuecard.cli.options import Overwrite
from cuecard.cli.recipe_flags import ADVISE, BACKBONE_FLAGS, Given
from cuecard.cli.views.console import Json, console, print_json
from cuecard.errors import ConfigError
from cuecard.runs.recipe import Recipe
from cuecard.runs.recipe_command import command_of
from cuecard.training.config import DEFAULT_BUDGET, Budget

# What is nothing to advice that only reads the rows.
_MEASURING = ("dtype", "quantize", "adapter", "device", "out")
_DATA = ("data", "task", *BACKBONE_FLAGS)


def advise(
    given: Annotated[Given, ADVISE],
    budget: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="What training may take, in CPU time such as 90s, 2m or 1h."
        ),
    ] = DEFAULT_BUDGET,
    measure: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            help="First spend so many minutes on comparing ways on the rows themselves.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Advise how to do a task, from its rows and what was measured elsewhere.

    Compares rows, labels, lengths, backbone and budget with tasks on which prompts, LoRA, linear
    models, hand-written and searched prompts were measured side by side, and says on how many, and
    how often such advice was right on a task that it had not seen. Nothing is run without
    --measure. With it, ways are compared on the rows themselves for as long, the cheap and the
    likely ones first, in a folder (`--out`, by default runs/DATA-advise) that the same command
    resumes; the advice then goes by both.

    Example: cuecard advise tickets.csv --text-field message --label-field team --measure 10

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (what is finished is kept).
    """
    recipe = given.recipe("cuecard advise", unused=("training.budget", "allow", "report_to"))
    seconds = Budget.parse(budget).seconds
    if seconds is None:
        raise ConfigError(
            "measurements are compared by time", where="--budget", got=budget, expected="2m or 90s"
        )
    if measure is None:
        _check_unused(given, overwrite=overwrite)
        _advise(recipe, budget, seconds, as_json=as_json)
    else:
        _measure(recipe, budget, seconds, measure, overwrite=overwrite, as_json=as_json)


def _advise(recipe: Recipe, budget: str, seconds: float, *, as_json: bool) -> None:
    from cuecard.cli.views.advice import print_advice
    from cuecard.cli.views.progress import fetch_progress
    from cuecard.evaluation.measured import advise as advise_task

    with fetch_progress(json=as_json) as progress:
        task = recipe.read_task(progress)
    found = advise_task(task, recipe.backbone, seconds)
    command = found.command(_data_of(recipe), budget)
    if as_json:
        print_json({"event": "result", **found.to_dict(), "command": command})
    else:
        print_advice(found, task, recipe.backbone, command, console())


def _measure(
    recipe: Recipe, budget: str, seconds: float, minutes: float, *, overwrite: bool, as_json: bool
) -> None:
    from cuecard.cli.views.advice import print_measured
    from cuecard.cli.views.progress import TrainView, fetch_progress
    from cuecard.evaluation.measured.ways import WAYS
    from cuecard.runs.compare.measure import check_minutes, measure_and_advise

    check_minutes(minutes, "--measure")
    with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
        found = measure_and_advise(
            recipe, minutes, seconds, observer=view, progress=progress, overwrite=overwrite
        )
    command = WAYS[found.way].command.format(data=_data_of(recipe), budget=budget)
    if as_json:
        print_json({"event": "result", **found.to_dict(), "command": command})
    else:
        print_measured(found, recipe.backbone, command, console())


def _data_of(recipe: Recipe) -> str:
    """The data, the task and the backbone as they are typed."""
    return command_of(recipe.model_dump(mode="json"), ADVISE.names, "", only=_DATA)


def _check_unused(given: Given, *, overwrite: bool) -> None:
    """Refuse settings of the contest where there is none."""
    unused = [flag for key, flag in given.flags.items() if key in _MEASURING]
    if overwrite:
        unused.append("--overwrite")
    if unused:
        raise ConfigError(
            "nothing is run without --measure",
            where="cuecard advise",
            got=", ".join(unused),
            expected="--measure MINUTES beside it",
        )
