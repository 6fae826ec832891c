"""`cuecard graphrag measure`: what extraction prompts are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cuecard.catalogue.entries import BACKBONES
from cuecard.cli.extraction_flags import EXTRACTOR_FLAGS, TEXT_FLAGS, TITLES, named_paths
from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.options import RESUME, DryRun, Overwrite
from cuecard.cli.output import check_place, writing
from cuecard.cli.recipe_flags import refuse
from cuecard.cli.views.console import Json, console, print_json
from cuecard.runs.folder import RunFolder
from cuecard.runs.graphrag.measure_recipe import MeasureRecipe
from cuecard.runs.llm_recipe import LLMRecipe

_PROMPTS = {
    "prompts": Flag("--prompt", metavar="FILE", read=named_paths),
    "prompt_folders": Flag("--prompt-folder", metavar="FOLDER", read=named_paths),
    "backbone": Flag(metavar="NAME", names=lambda _: BACKBONES),
    "generic": Flag(),
    "form": Flag(),
}
MEASURE = Fields(
    MeasureRecipe,
    {
        **_PROMPTS,
        **TEXT_FLAGS,
        **EXTRACTOR_FLAGS,
        "max_tokens": Flag(),
        "budget": Flag("--budget", metavar="LIMITS"),
        "runs": Flag(),
        "temperature": Flag(),
        "out": Flag(metavar="FOLDER"),
    },
    sections={"llm": LLMRecipe},
    titles={**TITLES, **dict.fromkeys(_PROMPTS, "Prompts")},
)


def measure(
    own: Annotated[Asked[MeasureRecipe], MEASURE],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="Write the report to this file too, as JSON."
        ),
    ] = None,
    resume_folder: Annotated[Path | None, RESUME] = None,
    dry: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Measure extraction prompts on the same texts: on gold, or on a corpus without.

    On gold: precision, recall and F1 of entities and relations, strict and relaxed. Without: form,
    empty answers, names that stand in the text, agreement of two runs. Differences from the first
    prompt are paired. The folder (`--out`) keeps all answers: none is paid for twice.

    Example: cuecard graphrag measure --root project --gold gold.jsonl --llm gpt-4o-mini

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the journal is kept).
    """
    from cuecard.cli.views.extraction import answers_text, print_extraction_costs, print_measure
    from cuecard.cli.views.progress import EventLines, fetch_progress
    from cuecard.evaluation.report import plain, write_json
    from cuecard.runs.graphrag.measure import plan_measure, run_measure

    check_place(output, "--output")
    if resume_folder is not None:
        more = [flag for flag, on in {"--overwrite": overwrite, "--dry-run": dry}.items() if on]
        refuse([*own.flags.values(), *more], "a measurement")
        plan = RunFolder(resume_folder, MeasureRecipe).to_resume()
    else:
        plan = own.settings()
    with fetch_progress(json=as_json) as progress:
        if dry:
            costs = plan_measure(plan, progress=progress, overwrite=overwrite)
            if as_json:
                print_json({name: each.priced() for name, each in costs.items()})
            else:
                print_extraction_costs(costs, console())
            return
        view = EventLines(answers_text, json=as_json)
        report = run_measure(plan, observer=view, progress=progress, overwrite=overwrite)
    if output is not None:
        with writing("--output"):
            write_json(report.to_dict(), output)
    if as_json:
        print_json({"event": "result", **plain(report.to_dict())})
    else:
        print_measure(report, plan.folder, console())
