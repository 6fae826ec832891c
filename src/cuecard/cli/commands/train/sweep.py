"""`cuecard sweep`: many trials in one process, several of them in each pass of one backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.options import RESUME, Overwrite
from cuecard.cli.recipe_flags import RECIPE, Given, refuse, value_lists
from cuecard.cli.views.console import Json, console, print_json
from cuecard.errors import ConfigError
from cuecard.training.sweeps.space import SweepConfig

_WORKERS = 2

SWEEP = Fields(
    SweepConfig,
    {
        "grid": Flag(metavar="KEY=VALUE,VALUE", read=value_lists),
        "ranges": Flag("--range", metavar="KEY=LOW..HIGH"),
        "search": Flag(),
        "trials": Flag(),
        "seed": Flag("--search-seed"),
        "prune": Flag(),
        "together": Flag(),
        "shard": Flag(metavar="INDEX/COUNT"),
    },
    titles=dict.fromkeys(SweepConfig.model_fields, "Sweep"),
)


def sweep(
    given: Annotated[Given, RECIPE],
    own: Annotated[Asked[SweepConfig], SWEEP],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FOLDER", help="With --collect: further shards' folders.", show_default=False
        ),
    ] = None,
    collect: Annotated[
        bool,
        typer.Option(
            "--collect",
            help="Choose among the trials of all shards, whose folders are named instead of DATA.",
            show_default=False,
            rich_help_panel="Sweep",
        ),
    ] = False,
    on: Annotated[
        Literal["ray"] | None,
        typer.Option(
            help="Train --workers shards on the Ray cluster of RAY_ADDRESS, or on one of this "
            "machine, and collect them.",
            show_default=False,
            rich_help_panel="Sweep",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"With --on: shards, each on a worker; by default {_WORKERS}.",
            show_default=False,
            rich_help_panel="Sweep",
        ),
    ] = None,
    resume_folder: Annotated[Path | None, RESUME] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Train many prompts in shared passes; validation rows select one, test rows see only that.

    Takes the data and settings of `cuecard train`. The folder (`--out`, by default runs/DATA-sweep)
    gets `sweep.md`, `sweep.json`, every trial's log, and the chosen run in `best`. --range or
    --trials means --search tpe. With --shard the folder has the trials of that share alone, and
    `cuecard sweep --collect FOLDER...` makes one sweep of all shards' folders.

    Example: cuecard sweep tickets.csv --grid lr=0.003,0.01,0.03 --grid seed=0,1,2

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the checkpoint is saved).
    """
    from cuecard.cli.views.progress import fetch_progress
    from cuecard.cli.views.sweep import SweepView, print_sweep, sweep_summary
    from cuecard.runs.sweeps.collect import collect_sweep
    from cuecard.runs.sweeps.on_ray import sweep_on_ray
    from cuecard.runs.sweeps.sweep_recipe import SweepRecipe, resume_sweep, run_sweep

    if more and not collect:
        raise _too_many(given, more)
    if collect and on:
        raise ConfigError("shards are collected here", where="--on", expected="--collect alone")
    if workers is not None and not on:
        raise ConfigError(
            "--workers are those of a cluster", where="--workers", expected="--on ray"
        )
    with SweepView(json=as_json) as view, fetch_progress(json=as_json) as progress:
        if resume_folder is not None:
            switches = {"--overwrite": overwrite, "--collect": collect, "--on": on is not None}
            others = [name for name, given_too in switches.items() if given_too]
            refuse([*given.flags.values(), *own.flags.values(), *others], "a sweep")
            outcome = resume_sweep(resume_folder, observer=view, progress=progress)
        elif collect:
            outcome = collect_sweep(
                _folders(given, own, more or ()),
                out=given.values.get("out"),
                observer=view,
                progress=progress,
                overwrite=overwrite,
            )
        else:
            tpe = own.values.keys() & {"ranges", "trials"}
            plan = SweepRecipe(
                recipe=given.recipe("cuecard sweep", unused=("training.budget",)),
                sweep=own.settings(search="tpe" if tpe else "grid"),
            )
            options: dict[str, Any] = {
                "observer": view,
                "progress": progress,
                "overwrite": overwrite,
            }
            if on:
                outcome = sweep_on_ray(plan, workers or _WORKERS, **options)
            else:
                outcome = run_sweep(plan, **options)
    print_json(sweep_summary(outcome)) if as_json else print_sweep(outcome, console())


def _folders(given: Given, own: Asked[SweepConfig], more: Sequence[str]) -> list[str]:
    """The shards' folders that stand where the data would.

    Raises:
        ConfigError: none, or settings beside them.
    """
    flags = {key: flag for key, flag in given.flags.items() if key not in ("data.path", "out")}
    if flags or own.flags:
        raise ConfigError(
            "shards are collected with the settings in their folders",
            where="--collect",
            got=", ".join([*flags.values(), *own.flags.values()]),
            expected="folders, and --out",
        )
    first = given.values.get("data", {}).get("path")
    return [] if first is None else [first, *more]


def _too_many(given: Given, more: Sequence[str]) -> ConfigError:
    return ConfigError(
        "more than one data set",
        where="DATA",
        got=" ".join([given.values["data"]["path"], *more]),
        expected="one",
        hint="--collect takes the folders of a sweep's shards",
    )
