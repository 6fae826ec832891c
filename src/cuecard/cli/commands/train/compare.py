"""`cuecard compare`: prompt tuning or fine-tuning, on the user's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.options import RESUME, Overwrite
from cuecard.cli.recipe_flags import RECIPE, Given, refuse
from cuecard.cli.views.console import Json, console, print_json
from cuecard.errors import ConfigError
from cuecard.runs.compare.recipe import ContestSettings

CONTEST = Fields(
    ContestSettings,
    {
        "contestants": Flag(metavar="NAMES"),
        "rates": Flag(),
        "rows": Flag(metavar="N,N"),
        "general": Flag(metavar="TEXTS"),
        "other_data": Flag("--other", metavar="DATA", repeat=True),
        "price": Flag(),
    },
    titles=dict.fromkeys(ContestSettings.model_fields, "Comparison"),
)

# Of a run's recipe.
_UNUSED = ("training.budget", "allow", "report_to")


def compare(
    given: Annotated[Given, RECIPE],
    own: Annotated[Asked[ContestSettings], CONTEST],
    resume_folder: Annotated[Path | None, RESUME] = None,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and train nothing.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Compare baselines, prompts and LoRA on the same rows: score, cost, forgetting, switching.

    Takes the data and settings of `cuecard train`; those of the method are prompt tuning's. Each
    contestant chooses on the validation rows, and answers the test rows once. The folder (`--out`,
    by default runs/DATA-compare) gets `compare.html`, `.md`, `.tex`, `.csv`, `.json` and a folder
    for each contestant. The same command again resumes a stopped comparison, and takes more
    contestants.

    Example: cuecard compare tickets.csv --contestants tfidf,zero-shot,prompt-tuning,lora

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (what is finished is kept).
    """
    from cuecard.cli.views.compare import print_compare, print_compare_plan
    from cuecard.cli.views.progress import TrainView, fetch_progress
    from cuecard.runs.compare.dry_run import plan_compare
    from cuecard.runs.compare.recipe import CompareRecipe
    from cuecard.runs.compare.run import run_compare
    from cuecard.runs.folder import RunFolder

    if resume_folder is not None:
        more = {"--overwrite": overwrite, "--dry-run": dry}
        flags = [*given.flags.values(), *own.flags.values(), *(f for f in more if more[f])]
        refuse(flags, "a comparison")
        plan = RunFolder(resume_folder, CompareRecipe).to_resume()
    else:
        if "report_to" in given.flags:
            raise ConfigError(
                "a comparison reports to no tracker while it runs",
                where=given.flags["report_to"],
                hint="once it has run, `cuecard track FOLDER --to NAME` sends all that it trained",
            )
        plan = CompareRecipe(
            recipe=given.recipe("cuecard compare", unused=_UNUSED),
            contest=own.settings(),
        )
    if dry:
        with fetch_progress(json=as_json) as progress:
            found = plan_compare(plan, progress=progress, overwrite=overwrite)
        print_json(found) if as_json else print_compare_plan(found, console())
        return
    with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
        outcome = run_compare(plan, observer=view, progress=progress, overwrite=overwrite)
    if as_json:
        print_json({"event": "result", "folder": outcome.folder, **outcome.report})
    else:
        print_compare(outcome, console())
