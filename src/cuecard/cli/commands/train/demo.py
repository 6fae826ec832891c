"""`cuecard demo`: the main job on the built-in backbone and data, from nothing to an answer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.usage_line import command_line
from cuecard.errors import TrainingError

if TYPE_CHECKING:
    from cuecard.runs.recipe import Outcome

DemoTask = Literal["reviews", "headlines"]


def demo(
    task: Annotated[
        DemoTask, typer.Option(help="Labels for film reviews, or headlines for news.")
    ] = "reviews",
    out: Annotated[
        str | None, typer.Option(help="The run's folder.  [runs/demo, runs/demo-headlines]")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A short run: fewer steps and a few hundred test rows.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the init and the order of the rows.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start again in a folder that holds another run.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a prompt on built-in data, evaluate it on unseen rows, and use it in a new process.

    Example: cuecard demo --task headlines

    Exit codes: 0 done, 2 bad input or no package index, 130 stopped by Ctrl-C (run it again to
    resume).
    """
    from cuecard.cli.commands.train.demo_tasks import demo_of
    from cuecard.cli.views.progress import TrainView, fetch_progress
    from cuecard.cli.views.proof import print_outcome, summary
    from cuecard.runs.recipe import run_recipe

    shown = demo_of(task, out, seed, quick=quick)
    with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
        outcome = run_recipe(
            shown.recipe,
            observer=view,
            progress=progress,
            overwrite=overwrite,
            manual=shown.manual,
        )
    if as_json:
        print_json(summary(outcome))
        return
    print_outcome(outcome, console())
    _answer(outcome, shown.inputs)


def _answer(outcome: Outcome, inputs: Sequence[str]) -> None:
    """Answer new inputs from the saved prompt alone, in another process."""
    command = ["predict", str(outcome.run.folder), *inputs]
    typer.echo(f"\n$ {command_line('cuecard', *command[:2])} ...")
    done = subprocess.run([sys.executable, "-m", "cuecard", *command], check=False)
    if done.returncode != 0:
        raise TrainingError(
            "the saved prompt could not be used in a fresh process",
            where=str(outcome.run.folder),
            got=f"exit code {done.returncode}",
            expected="0",
        )
