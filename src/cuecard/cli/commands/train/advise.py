"""`cuecard advise`: a recommendation before anything is trained."""

from __future__ import annotations

from typing import Annotated

import typer

from cuecard.cli.recipe_flags import READ, Given
from cuecard.cli.views.console import Json, console, print_json
from cuecard.errors import ConfigError
from cuecard.runs.recipe_command import command_of
from cuecard.training.config import DEFAULT_BUDGET, Budget


def advise(
    given: Annotated[Given, READ],
    budget: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="What training may take, in CPU time such as 90s, 2m or 1h."
        ),
    ] = DEFAULT_BUDGET,
    as_json: Json = False,
) -> None:
    r"""Advise how to do a task, from its rows and what was measured elsewhere; nothing is run.

    Compares rows, labels, lengths, backbone and budget with tasks on which prompts, LoRA, linear
    models, hand-written and searched prompts were measured side by side, and says on how many, and
    how often such advice was right on a task that it had not seen. `cuecard compare` measures on
    the rows themselves.

    Example: cuecard advise tickets.csv --text-field message --label-field team --budget 10m

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.cli.views.advice import print_advice
    from cuecard.cli.views.progress import fetch_progress
    from cuecard.evaluation.measured import advise as advise_task

    recipe = given.recipe("cuecard advise", unused=("training.budget", "allow", "report_to"))
    seconds = Budget.parse(budget).seconds
    if seconds is None:
        raise ConfigError(
            "measurements are compared by time", where="--budget", got=budget, expected="2m or 90s"
        )
    with fetch_progress(json=as_json) as progress:
        task = recipe.read_task(progress)
    found = advise_task(task, recipe.backbone, seconds)
    values = recipe.model_dump(mode="json")
    data = command_of(values, READ.names, "", only=("data", "task", "backbone"))
    command = found.command(data, budget)
    if as_json:
        print_json({"event": "result", **found.to_dict(), "command": command})
    else:
        print_advice(found, task, recipe.backbone, command, console())
