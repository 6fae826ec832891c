"""`cuecard graphrag dataset`: rows from which `cuecard train` makes a prompt that extracts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cuecard.cli.extraction_flags import EXTRACTOR_FLAGS, TEXT_FLAGS, TITLES
from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.options import RESUME, DryRun, Overwrite
from cuecard.cli.recipe_flags import refuse
from cuecard.cli.views.console import Json, console, print_json
from cuecard.runs.folder import RunFolder
from cuecard.runs.graphrag.dataset_recipe import DatasetRecipe
from cuecard.runs.llm_recipe import LLMRecipe

DATASET = Fields(
    DatasetRecipe,
    {
        **TEXT_FLAGS,
        "target": Flag("--target"),
        "descriptions": Flag(),
        "prompt": Flag(metavar="FILE"),
        "form": Flag(),
        **EXTRACTOR_FLAGS,
        "max_tokens": Flag(),
        "budget": Flag("--budget", metavar="LIMITS"),
        "out": Flag(metavar="FOLDER"),
    },
    sections={"llm": LLMRecipe},
    titles={**TITLES, **dict.fromkeys(("prompt", "form"), "LLM")},
)


def dataset(
    own: Annotated[Asked[DatasetRecipe], DATASET],
    resume_folder: Annotated[Path | None, RESUME] = None,
    dry: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write texts with what is to be extracted from them, as rows for `cuecard train`.

    From gold, or from the answers of a strong LLM: those with faults, or with names that do not
    stand in the text, are left out. A prompt trained on them serves a small model that GraphRAG
    calls by the prompt's name.

    Example: cuecard graphrag dataset --corpus input --llm gpt-4o --out runs/extractions

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the journal is kept).
    """
    from cuecard.cli.views.extraction import answers_text, print_dataset, print_extraction_costs
    from cuecard.cli.views.progress import EventLines, fetch_progress
    from cuecard.runs.graphrag.dataset import plan_dataset, run_dataset

    if resume_folder is not None:
        more = [flag for flag, on in {"--overwrite": overwrite, "--dry-run": dry}.items() if on]
        refuse([*own.flags.values(), *more], "a data set")
        plan = RunFolder(resume_folder, DatasetRecipe).to_resume()
    else:
        plan = own.settings()
    with fetch_progress(json=as_json) as progress:
        if dry:
            most = plan_dataset(plan, progress=progress, overwrite=overwrite)
            if as_json:
                print_json(most.priced())
            else:
                print_extraction_costs({"answers": most}, console())
            return
        view = EventLines(answers_text, json=as_json)
        found = run_dataset(plan, observer=view, progress=progress, overwrite=overwrite)
    if as_json:
        print_json({"event": "result", **found.to_dict()})
    else:
        print_dataset(found, console())
