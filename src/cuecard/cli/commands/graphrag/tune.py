"""`cuecard graphrag tune`: from texts to prompts."""

from __future__ import annotations

from typing import Annotated

from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.llm_flags import llm_flags
from cuecard.cli.options import DryRun
from cuecard.cli.views.console import Json, console, print_json
from cuecard.graphrag.prompts.dialects import DIALECTS
from cuecard.runs.graphrag.recipe import BUDGET, TuneRecipe
from cuecard.runs.llm_recipe import LLMRecipe

TUNE = Fields(
    TuneRecipe,
    {
        "corpus": Flag("CORPUS"),
        "root": Flag(metavar="FOLDER"),
        "text_field": Flag(metavar="COLUMN"),
        "gold": Flag(metavar="FILE"),
        **llm_flags(Flag("--llm", metavar="MODEL")),
        "budget": Flag(BUDGET, metavar="LIMITS"),
        "tune.selection": Flag(),
        "tune.chunks": Flag(),
        "tune.seed": Flag(),
        "tune.embedder": Flag(metavar="NAME"),
        "tune.domain": Flag(),
        "tune.language": Flag(),
        "tune.types": Flag(metavar="TYPE,TYPE"),
        "tune.find_types": Flag(),
        "tune.most_types": Flag(),
        "tune.examples": Flag(),
        "tune.example_tokens": Flag(),
        "tune.call_tokens": Flag(),
        "tune.prompt_tokens": Flag(),
        "dialect": Flag(metavar="NAME", names=lambda _: DIALECTS, listed=True),
        "weak": Flag(),
        "out": Flag(metavar="FOLDER"),
        "apply": Flag(),
    },
    sections={"llm": LLMRecipe},
    titles={
        "llm": "LLM",
        "budget": "LLM",
        "tune": "Tuning",
        **dict.fromkeys(("dialect", "weak", "out", "apply"), "Prompts"),
    },
)


def tune(
    own: Annotated[Asked[TuneRecipe], TUNE],
    dry: DryRun = False,
    as_json: Json = False,
) -> None:
    """Write GraphRAG's prompts for a corpus, with its types of entities and solved examples.

    An LLM says what chosen chunks are about and solves some of them: about ten calls. Prompts are
    written to prompts/tuned in the project; nothing else in it changes without --apply. A command
    that was stopped goes on when it is run again, and pays for no call twice.

    Example: cuecard graphrag tune input --root project --llm gpt-4o-mini --apply

    Exit codes: 0 done, 2 bad input or an LLM that cannot do it, 130 stopped by Ctrl-C.
    """
    from cuecard.cli.views.graphrag import print_tune, print_tune_costs, tune_text
    from cuecard.cli.views.progress import EventLines, fetch_progress
    from cuecard.runs.graphrag.tune import plan_tune, run_tune

    plan = own.settings()
    with fetch_progress(json=as_json) as progress:
        if dry:
            costs = plan_tune(plan, progress=progress)
            print_json(costs.to_dict()) if as_json else print_tune_costs(costs, console())
            return
        view = EventLines(tune_text, json=as_json)
        outcome = run_tune(plan, observer=view, progress=progress)
    print_json({"event": "result", **outcome.to_dict()}) if as_json else print_tune(
        outcome, console()
    )
