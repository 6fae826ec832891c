"""`cuecard graphrag optimise`: search for an extraction prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cuecard.catalogue.entries import BACKBONES
from cuecard.cli.extraction_flags import EXTRACTOR_FLAGS, TEXT_FLAGS, TITLES
from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.llm_flags import llm_flags
from cuecard.cli.options import RESUME, DryRun, Overwrite
from cuecard.cli.recipe_flags import refuse
from cuecard.cli.views.console import Json, console, print_json
from cuecard.runs.folder import RunFolder
from cuecard.runs.graphrag.optimise_recipe import OptimiseRecipe, WriterRecipe
from cuecard.runs.llm_recipe import LLMRecipe
from cuecard.search.searchers import SEARCHERS
from cuecard.training.sweeps.space import parse_values

_SEARCH = {
    "prompt": Flag(metavar="FILE"),
    "searcher": Flag(metavar="NAME", names=lambda _: SEARCHERS),
    "objective": Flag(),
    "prompt_tokens": Flag(),
    "split": Flag(metavar="TRAIN,VALIDATION,TEST", read=parse_values),
    "search.rows": Flag("--race-rows"),
    "search.proposals": Flag(),
    "search.rounds": Flag(),
    "search.finalists": Flag(),
    "search.block": Flag(),
    "search.seed": Flag("--search-seed"),
}
_WRITER = Flag("--writer-llm", metavar="MODEL", optional=True, names=lambda _: BACKBONES)
OPTIMISE = Fields(
    OptimiseRecipe,
    {
        **_SEARCH,
        **TEXT_FLAGS,
        **EXTRACTOR_FLAGS,
        "max_tokens": Flag(),
        "budget": Flag("--budget", metavar="LIMITS"),
        **llm_flags(_WRITER, "writer", "--writer"),
        "form": Flag(),
        "out": Flag(metavar="FOLDER"),
    },
    sections={"llm": LLMRecipe, "writer": WriterRecipe},
    titles={**TITLES, **dict.fromkeys(_SEARCH, "Search")},
)


def optimise(
    own: Annotated[Asked[OptimiseRecipe], OPTIMISE],
    resume_folder: Annotated[Path | None, RESUME] = None,
    dry: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Search for an extraction prompt: its instruction, its types' names and its examples.

    Documents are parted into three: candidates race on the first part, the best and the prompt as
    it was answer the second, and the better one is kept and tested on the third. The folder
    (`--out`) gets the prompt as GraphRAG reads it, a report, and a journal, by which a stopped
    search goes on.

    Example: cuecard graphrag optimise --gold gold.jsonl --prompt tuned.txt --llm gpt-4o-mini

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the journal is kept).
    """
    from cuecard.cli.views.extraction import optimise_text, print_optimise
    from cuecard.cli.views.progress import EventLines, fetch_progress
    from cuecard.cli.views.search import print_costs
    from cuecard.runs.graphrag.optimise import plan_optimise, run_optimise

    if resume_folder is not None:
        more = [flag for flag, on in {"--overwrite": overwrite, "--dry-run": dry}.items() if on]
        refuse([*own.flags.values(), *more], "a search")
        plan = RunFolder(resume_folder, OptimiseRecipe).to_resume()
    else:
        plan = own.settings()
    with fetch_progress(json=as_json) as progress:
        if dry:
            costs = plan_optimise(plan, progress=progress, overwrite=overwrite)
            print_json(costs.to_dict()) if as_json else print_costs(costs, console())
            return
        view = EventLines(optimise_text, json=as_json)
        outcome = run_optimise(plan, observer=view, progress=progress, overwrite=overwrite)
    if as_json:
        print_json({"event": "result", **outcome.to_dict()})
    else:
        print_optimise(outcome, console())
