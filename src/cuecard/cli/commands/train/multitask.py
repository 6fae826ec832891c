"""`cuecard multitask`: one prompt for several tasks, from which new tasks start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cuecard.cli.fields import Asked, Fields
from cuecard.cli.options import RESUME, Overwrite
from cuecard.cli.recipe_flags import REPORT_TO, refuse
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_table, say_line
from cuecard.cli.views.usage_line import command_line
from cuecard.errors import ConfigError
from cuecard.evaluation.report import plain
from cuecard.runs.multitask_recipe import MultitaskRecipe, resume_multitask, run_multitask

if TYPE_CHECKING:
    from cuecard.training.multitask_trainer import Multitask


OWN = Fields(MultitaskRecipe, {"report_to": REPORT_TO})


def multitask(
    own: Annotated[Asked[MultitaskRecipe], OWN],
    recipe: Annotated[
        Path | None,
        typer.Argument(help="A YAML file with the tasks, see docs/methods.md.", show_default=False),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="The run's folder.  [the recipe's]")
    ] = None,
    resume_folder: Annotated[Path | None, RESUME] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train one prompt for several tasks (MPT); new tasks can start from what they share.

    The folder gets a run of each task in `tasks`, and `shared`, from which
    `cuecard train DATA --method mpt --init-prompt FOLDER` starts.

    Example: cuecard multitask sources.yaml --out runs/sources

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the checkpoint is saved).
    """
    from cuecard.cli.views.progress import TrainView, fetch_progress

    if recipe is None and resume_folder is None:
        raise ConfigError(
            "there is nothing to train",
            where="cuecard multitask",
            expected="a recipe, or --resume with a run's folder alone",
        )
    if resume_folder is not None:
        given = {str(recipe): recipe, "--out": out, "--overwrite": overwrite}
        refuse([*own.flags.values(), *(flag for flag in given if given[flag])], "a run")
    with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
        options: dict[str, Any] = {"observer": view, "progress": progress}
        if resume_folder is not None:
            outcome = resume_multitask(resume_folder, **options)
        else:
            assert recipe is not None
            plan = own.over(MultitaskRecipe.read(recipe))
            changed = {} if out is None else {"out": out}
            plan = plan.model_copy(update=changed)
            outcome = run_multitask(plan, overwrite=overwrite, **options)
    if as_json:
        print_json(_summary(outcome.found))
    else:
        _print(outcome.found, console())


def _print(found: Multitask, out: Console) -> None:
    rows = []
    for name, run in found.runs.items():
        seen = run.validation
        accuracy = "-" if seen.accuracy is None else f"{seen.accuracy:.3f}"
        test = "-" if run.test is None else f"{run.test.score:.3f}"
        rows.append((name, f"{seen.loss:.4f}", accuracy, test, f"{run.folder}/prompt"))
    columns = ("task", "validation loss", "accuracy", "test", "prompt")
    print_table(out, columns, rows, left=("prompt",))
    say_line(out, f"shared  {found.folder}/shared")
    start = ("--method", "mpt", "--init-prompt", str(found.folder))
    say_line(out, f"next    {command_line('cuecard', 'train', 'DATA', *start)}")


def _summary(found: Multitask) -> dict[str, Any]:
    return dict(
        plain(
            {
                "event": "result",
                "folder": found.folder,
                "digest": found.shared.digest,
                "lr": found.lr,
                "steps": found.steps,
                "best_step": found.best_step,
                "tasks": {
                    name: {
                        "folder": run.folder,
                        "digest": run.prompt.digest,
                        "validation": run.validation,
                        "alarm": run.alarm,
                        "test": None if run.test is None else run.test.to_dict(),
                    }
                    for name, run in found.runs.items()
                },
            }
        )
    )
