"""`cuecard sweep`: many trials in one process, several of them in each pass of one backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.options import RESUME, Overwrite
from cuecard.cli.recipe_flags import RECIPE, Given, refuse, value_lists
from cuecard.cli.views.console import Json, console, print_json
from cuecard.training.sweeps.space import SweepConfig

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
    },
    titles=dict.fromkeys(SweepConfig.model_fields, "Sweep"),
)


def sweep(
    given: Annotated[Given, RECIPE],
    own: Annotated[Asked[SweepConfig], SWEEP],
    resume_folder: Annotated[Path | None, RESUME] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Train many prompts in shared passes; validation rows select one, test rows see only that.

    Takes the data and settings of `cuecard train`. The folder (`--out`, by default runs/DATA-sweep)
    gets `sweep.md`, `sweep.json`, every trial's log, and the chosen run in `best`. --range or
    --trials means --search tpe.

    Example: cuecard sweep tickets.csv --grid lr=0.003,0.01,0.03 --grid seed=0,1,2

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the checkpoint is saved).
    """
    from cuecard.cli.views.progress import fetch_progress
    from cuecard.cli.views.sweep import SweepView, print_sweep, sweep_summary
    from cuecard.runs.sweep_recipe import SweepRecipe, resume_sweep, run_sweep

    with SweepView(json=as_json) as view, fetch_progress(json=as_json) as progress:
        if resume_folder is not None:
            more = ["--overwrite"] if overwrite else []
            refuse([*given.flags.values(), *own.flags.values(), *more], "a sweep")
            outcome = resume_sweep(resume_folder, observer=view, progress=progress)
        else:
            tpe = own.values.keys() & {"ranges", "trials"}
            plan = SweepRecipe(
                recipe=given.recipe("cuecard sweep", unused=("training.budget",)),
                sweep=own.settings(search="tpe" if tpe else "grid"),
            )
            outcome = run_sweep(plan, observer=view, progress=progress, overwrite=overwrite)
    print_json(sweep_summary(outcome)) if as_json else print_sweep(outcome, console())
