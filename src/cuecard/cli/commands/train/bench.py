"""`cuecard bench vtab`: a method's score over data sets of images, by the protocol of papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cuecard.catalogue import BACKBONES, DATASETS
from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.options import RESUME, Overwrite
from cuecard.cli.recipe_flags import refuse, value_lists
from cuecard.cli.views.console import Json, console, print_json
from cuecard.errors import ConfigError
from cuecard.evaluation.report import plain
from cuecard.methods import METHODS, PromptTuning
from cuecard.runs.vtab_recipe import VtabRecipe, resume_vtab, run_vtab
from cuecard.training.sweeps.space import parse_values

VTAB = Fields(
    VtabRecipe,
    {
        "data": Flag("DATA", names=lambda _: DATASETS, repeat=True, optional=True),
        "groups": Flag("--group", metavar="DATA=GROUP"),
        "backbone": Flag(metavar="NAME", names=lambda _: BACKBONES),
        "dtype": Flag(),
        "device": Flag(names=lambda _: ("auto", "cpu", "cuda")),
        "method.name": Flag(
            "--method",
            metavar="NAME",
            help="What is trained, see `cuecard methods`.  [default: deep-prompts]",
            names=lambda _: METHODS,
        ),
        "method.length": Flag(help="Vectors of the prompt.  [default: 10]"),
        "method.init": Flag(),
        "protocol.grid": Flag("--grid", metavar="KEY=VALUE,VALUE", read=value_lists),
        "protocol.optimizer": Flag(),
        "protocol.epochs": Flag(),
        "protocol.batch_rows": Flag(),
        "protocol.examples": Flag(),
        "protocol.test_rows": Flag(),
        "protocol.seeds": Flag(metavar="INTEGER,INTEGER", read=parse_values),
        "protocol.together": Flag(),
        "out": Flag(metavar="FOLDER"),
    },
    sections={"method": PromptTuning},
    titles={"protocol": "Protocol", "method": "Method"},
)


def bench(
    protocol: Annotated[Literal["vtab"], typer.Argument(metavar="vtab", help="The protocol.")],
    given: Annotated[Asked[VtabRecipe], VTAB],
    resume_folder: Annotated[Path | None, RESUME] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Score a method on sets of images by the protocol of VTAB-1k.

    1,000 examples of each; a grid of rates and weight decays on 800 of them, chosen by the other
    200; then training on all with several seeds; then, once everything is trained, the test.
    The folder gets `vtab.json` with both means that papers print, and the prompts.

    Example: cuecard bench vtab cifar-10 bloodmnist --grid lr=1,0.25 --epochs 10 --test-rows 500

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the checkpoint is saved).
    """
    from cuecard.cli.views.progress import fetch_progress
    from cuecard.cli.views.sweep import SweepView
    from cuecard.cli.views.vtab import print_vtab

    if resume_folder is None and "data" not in given.values:
        raise ConfigError(
            "there is no data",
            where=f"cuecard bench {protocol}",
            expected="sets of images, or --resume with a run's folder alone",
        )
    with SweepView(json=as_json) as view, fetch_progress(json=as_json) as progress:
        options: dict[str, Any] = {"observer": view, "progress": progress}
        if resume_folder is not None:
            more = ["--overwrite"] if overwrite else []
            refuse([*given.flags.values(), *more], "a run of the protocol")
            outcome = resume_vtab(resume_folder, **options)
        else:
            outcome = run_vtab(given.settings(), overwrite=overwrite, **options)
    if as_json:
        print_json({"event": "result", **plain(outcome.to_dict())})
    else:
        print_vtab(outcome, console())
