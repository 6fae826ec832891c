"""`cuecard sweep`: many trials in one process, several of them in each pass of one backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cuecard.cli.options import pairs
from cuecard.cli.recipe_flags import Given, takes_recipe
from cuecard.cli.views.console import Json, console, print_json
from cuecard.errors import ConfigError


@takes_recipe
def sweep(
    given: Given,
    resume_folder: Annotated[
        Path | None, typer.Option("--resume", help="Go on with the sweep in this folder.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE,VALUE: values to try, such as lr=0.003,0.01 or method.init=."),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", help="KEY=LOW..HIGH or LOW..HIGH:log: numbers for tpe to try."),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(help="grid or tpe.  [tpe with --range or --trials, else grid]"),
    ] = None,
    trials: Annotated[int | None, typer.Option(help="How many trials of tpe.  [20]")] = None,
    search_seed: Annotated[int | None, typer.Option(help="Of tpe's proposals.  [0]")] = None,
    prune: Annotated[
        bool | None,
        typer.Option(
            "--prune/--no-prune",
            help="End trials early that are below the median.  [with tpe]",
        ),
    ] = None,
    together: Annotated[
        int | None, typer.Option(help="Trials in one pass.  [what fits, 8 at most]")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start again in a folder with another sweep.")
    ] = False,
    as_json: Json = False,
) -> None:
    r"""Train many prompts on one backbone in shared passes; validation chooses, test sees one.

    Takes the data and settings of `cuecard train`. The folder (`--out`, by default runs/DATA-sweep)
    gets `sweep.md`, `sweep.json`, every trial's log, and the chosen run in `best`.

    Example: cuecard sweep tickets.csv --grid lr=0.003,0.01,0.03 --grid seed=0,1,2

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the checkpoint is saved).
    """
    from cuecard.cli.views.progress import fetch_progress
    from cuecard.cli.views.sweep import SweepView, print_sweep, sweep_summary
    from cuecard.runs.sweep_recipe import SweepRecipe, resume_sweep, run_sweep
    from cuecard.settings import parse_settings
    from cuecard.training.sweeps.space import SweepConfig

    options = {
        "grid": grid and {key: _values(text) for key, text in pairs(grid, "--grid").items()},
        "ranges": ranges and pairs(ranges, "--range"),
        "search": search or ("tpe" if ranges or trials else None),
        "trials": trials,
        "seed": search_seed,
        "prune": prune,
        "together": together,
    }
    own: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    with SweepView(json=as_json) as view, fetch_progress(json=as_json) as progress:
        if resume_folder is not None:
            given.refuse("a sweep")
            if own:
                raise ConfigError(
                    "a sweep goes on with its own settings",
                    where="--resume",
                    got=", ".join(own),
                    expected="--resume alone",
                )
            outcome = resume_sweep(resume_folder, observer=view, progress=progress)
        else:
            plan = SweepRecipe(
                recipe=given.recipe("cuecard sweep"),
                sweep=parse_settings(SweepConfig, own, "the command line"),
            )
            outcome = run_sweep(plan, observer=view, progress=progress, overwrite=overwrite)
    print_json(sweep_summary(outcome)) if as_json else print_sweep(outcome, console())


def _values(text: str) -> tuple[Any, ...]:
    from cuecard.training.sweeps.space import parse_value

    return tuple(parse_value(part) for part in text.split(","))
