"""`cuecard train`: from labelled examples to a saved prompt with its proof."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cuecard.cli.options import RESUME, Overwrite
from cuecard.cli.recipe_flags import TRAIN, Given, refuse
from cuecard.cli.views.console import Json, console, print_json
from cuecard.runs.folder import RunFolder
from cuecard.runs.recipe import Recipe, check_shared, run_recipe, share_recipe


def train(
    given: Annotated[Given, TRAIN],
    resume_folder: Annotated[Path | None, RESUME] = None,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and train nothing.")
    ] = False,
    launch: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Share each batch's rows out among N processes on this machine; torchrun starts "
            "them on several.",
            show_default=False,
            rich_help_panel="Training",
        ),
    ] = None,
    shard_backbone: Annotated[
        bool,
        typer.Option(
            "--shard-backbone",
            help="Each of several processes holds its part of the backbone's layers alone (FSDP).",
            rich_help_panel="Training",
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Train a prompt, select it on validation rows, and evaluate it once on the test rows.

    Without --method, methods and learning rates race on the validation rows, and the best is
    trained to the end of --budget, two minutes of CPU time by default.

    Example: cuecard train tickets.csv --text-field message --label-field team --out runs/tickets

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the checkpoint is saved).
    """
    from cuecard.cli.views.progress import TrainView, fetch_progress
    from cuecard.cli.views.sweep import SweepView

    if resume_folder is not None:
        own = {"--dry-run": dry, "--overwrite": overwrite}
        refuse([*given.flags.values(), *(flag for flag in own if own[flag])], "a run")
        plan = RunFolder(resume_folder, Recipe).to_resume()
    else:
        plan = given.recipe("cuecard train", unnamed=None)
    from cuecard.training.parallel.joining import Place, joined
    from cuecard.training.parallel.local_processes import launched, this_command

    place = Place.of(os.environ)
    check_shared(plan, launch or (1 if place is None else place.size), shards=shard_backbone)
    if dry:
        from cuecard.cli.views.plan import print_plan
        from cuecard.runs.dry_run import dry_run

        with fetch_progress(json=as_json) as progress:
            found = dry_run(plan, progress=progress, overwrite=overwrite)
        print_json(found) if as_json else print_plan(found, console())
        return
    shown = TrainView if plan.seeds == 1 else SweepView
    with launched(launch, this_command()) as others:
        place = Place.of(os.environ)
        with joined(place, plan.device, others.check, shards=shard_backbone) as ranks:
            if not ranks.leads:
                share_recipe(plan, ranks)
                return
            with shown(json=as_json) as view, fetch_progress(json=as_json) as progress:
                outcome = run_recipe(
                    plan, observer=view, progress=progress, overwrite=overwrite, ranks=ranks
                )
    from cuecard.cli.views.proof import print_outcome, summary

    if as_json:
        print_json(summary(outcome))
    else:
        print_outcome(outcome, console())
