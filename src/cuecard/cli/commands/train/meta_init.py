"""`cuecard meta-init`: learn from many tasks where prompts start from best."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cuecard.cli.fields import Asked, Fields
from cuecard.cli.options import RESUME, Overwrite
from cuecard.cli.recipe_flags import REPORT_TO, refuse
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import say_line
from cuecard.cli.views.usage_line import command_line
from cuecard.errors import ConfigError
from cuecard.runs.few_shot.meta_recipe import MetaOutcome, MetaRecipe, resume_meta, run_meta

if TYPE_CHECKING:
    from rich.console import Console


_LINES = 20  # of a whole run, at most about so many


OWN = Fields(MetaRecipe, {"report_to": REPORT_TO})


def meta_init(
    own: Annotated[Asked[MetaRecipe], OWN],
    recipe: Annotated[
        Path | None,
        typer.Argument(
            help="A YAML file with the tasks, see docs/few-shot.md.", show_default=False
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="The run's folder.  [the recipe's]")
    ] = None,
    resume_folder: Annotated[Path | None, RESUME] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Learn from many tasks where the prompts of new ones start (Reptile, first-order MAML).

    Every round trains a prompt for some of the tasks, all in one pass of the backbone, and moves
    the start towards them. The folder gets `init.safetensors`, for
    `cuecard train DATA --init meta --init-prompt FILE`.

    Example: cuecard meta-init tasks.yaml --out runs/start

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the checkpoint is saved).
    """
    from cuecard.cli.views.progress import fetch_progress

    if recipe is None and resume_folder is None:
        raise ConfigError(
            "there is nothing to learn from",
            where="cuecard meta-init",
            expected="a recipe, or --resume with a run's folder alone",
        )
    out_console = console()
    observer: Callable[[dict[str, Any]], None] = (
        (lambda event: None) if as_json else _Rounds(out_console)
    )
    with fetch_progress(json=as_json) as progress:
        if resume_folder is not None:
            given = {str(recipe): recipe, "--out": out, "--overwrite": overwrite}
            refuse([*own.flags.values(), *(flag for flag in given if given[flag])], "a run")
            outcome = resume_meta(resume_folder, observer=observer, progress=progress)
        else:
            assert recipe is not None
            plan = own.over(MetaRecipe.read(recipe))
            plan = plan if out is None else plan.in_folder(Path(out))
            outcome = run_meta(plan, observer=observer, progress=progress, overwrite=overwrite)
    print_json(_summary(outcome)) if as_json else _print(outcome, out_console)


class _Rounds:
    """Shows some of the rounds, each on a line."""

    def __init__(self, out: Console) -> None:
        self._out, self._every = out, 1

    def __call__(self, event: dict[str, Any]) -> None:
        """Take an event."""
        if event["event"] == "meta":
            self._every = max(1, event["rounds"] // _LINES)
            rounds = f"{event['rounds']:,} rounds, {event['done']:,} done"
            say_line(self._out, f"{event['tasks']} tasks, {rounds}")
        elif event["event"] == "round" and event["round"] % self._every == 0:
            learnt = f"loss {event['before']:.4f} -> {event['after']:.4f}"
            tasks = ", ".join(event["tasks"])
            say_line(self._out, f"round {event['round']:,}  {learnt}  ({tasks})")


def _print(outcome: MetaOutcome, out: Console) -> None:
    count, width = outcome.found.vectors.shape
    say_line(out, f"\nstart   {outcome.file}  ({count} vectors of {width})")
    start = ("--init", "meta", "--init-prompt", str(outcome.file))
    say_line(out, f"use it  {command_line('cuecard', 'train', 'DATA', *start)}")


def _summary(outcome: MetaOutcome) -> dict[str, Any]:
    manifest = outcome.found.manifest
    return {
        "event": "result",
        "file": str(outcome.file),
        "digest": manifest.digest,
        "rounds": manifest.rounds,
        "tasks": manifest.tasks,
        "settings": manifest.settings,
    }
