"""`cuecard pet`: several patterns and unlabelled rows make more of few labelled ones."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cuecard.cli.options import RESUME, Overwrite, unescaped
from cuecard.cli.recipe_flags import RECIPE, Given, refuse
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_table, say, say_line
from cuecard.cli.views.usage_line import predict_command
from cuecard.errors import ConfigError

if TYPE_CHECKING:
    from cuecard.runs.few_shot.pet_recipe import PetOutcome

# What a run's recipe says that is nothing to this command.
_UNUSED = ("seeds", "keep", "training.budget", "allow", "compare")


def pet(
    given: Annotated[Given, RECIPE],
    unlabelled: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Rows to label, with the columns of DATA but the label."),
    ] = None,
    patterns: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=r"A template per line, with \n for a line break."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of the soft labels.  [default: 2.0]", show_default=False)
    ] = None,
    generations: Annotated[
        int | None,
        typer.Option(
            help="How often the patterns are trained, each time on more rows, which the others "
            "label (iPET).  [default: 1]",
            show_default=False,
        ),
    ] = None,
    growth: Annotated[
        float | None,
        typer.Option(
            help="How many times as many rows in every generation.  [default: 5.0]",
            show_default=False,
        ),
    ] = None,
    resume_folder: Annotated[Path | None, RESUME] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Train a prompt per pattern, label unlabelled rows with all of them, distil one prompt (PET).

    The patterns' prompts start from their words and are trained in shared passes. The distilled
    prompt goes on from the one that does best on validation rows, and alone is tested, once. The
    folder (`--out`, by default runs/DATA-pet) gets its run, and the patterns' in `patterns`.

    Example: cuecard pet reviews.csv --shots 16 --unlabelled more.csv --patterns patterns.txt

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the checkpoint is saved).
    """
    from cuecard.cli.views.progress import fetch_progress
    from cuecard.cli.views.sweep import SweepView
    from cuecard.runs.few_shot.pet_recipe import PetRecipe, resume_pet, run_pet

    numbers = {"temperature": temperature, "generations": generations, "growth": growth}
    own: dict[str, Any] = {"--unlabelled": unlabelled, "--patterns": patterns}
    own |= {f"--{name}": value for name, value in numbers.items()}
    if resume_folder is not None:
        more = {**own, "--overwrite": overwrite or None}
        refuse([*given.flags.values(), *(flag for flag in more if more[flag] is not None)], "a run")
        with SweepView(json=as_json) as view, fetch_progress(json=as_json) as progress:
            outcome = resume_pet(resume_folder, observer=view, progress=progress)
    else:
        for flag in ("--unlabelled", "--patterns"):
            if own[flag] is None:
                raise ConfigError("there is nothing to learn from", where=flag, expected="a file")
        assert unlabelled is not None
        assert patterns is not None
        values: dict[str, Any] = {"unlabelled": unlabelled, "patterns": read_patterns(patterns)}
        values |= {name: value for name, value in numbers.items() if value is not None}
        recipe = given.recipe("cuecard pet", unused=_UNUSED)
        plan = PetRecipe.parse({"recipe": recipe, **values}, "the command line")
        with SweepView(json=as_json) as view, fetch_progress(json=as_json) as progress:
            outcome = run_pet(plan, observer=view, progress=progress, overwrite=overwrite)
    print_json(_summary(outcome)) if as_json else _print(outcome, console())


def read_patterns(path: Path) -> list[str]:
    """The lines of a file that are not empty.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            "the patterns cannot be read", where=str(path), got=got, expected="a text file"
        ) from error
    return [unescaped(line) for line in lines if line.strip()]


def _print(outcome: PetOutcome, out: Console) -> None:
    from cuecard.cli.views.evaluation import in_words

    found, run = outcome.found, outcome.found.run
    rows = [
        (
            repr(one.pattern),
            f"{one.rows:,}",
            f"{one.weight:.3f}",
            f"{one.validation.loss:.4f}",
            f"{one.validation.accuracy:.3f}",
        )
        for one in found.patterns
    ]
    distilled = "distilled", f"{found.unlabelled:,}", "-"
    rows.append((*distilled, f"{run.validation.loss:.4f}", f"{run.validation.accuracy:.3f}"))
    columns = ("pattern", "rows", "weight", "validation loss", "accuracy")
    print_table(out, columns, rows, bold=(len(rows) - 1,))
    if len(found.generations) > 1:
        means = (fmean(one.validation.loss for one in each) for each in found.generations)
        losses = ", ".join(f"{mean:.4f}" for mean in means)
        say(out, f"The patterns' mean validation loss, generation by generation: {losses}")
    if run.validation.loss > found.teacher.validation.loss:
        say(out, "Note: on validation rows the distilled prompt is no better than its best pattern")
    if run.test is not None:
        say(out, in_words(run.test, "test row"))
    say_line(out, f"\nprompt  {run.folder}/prompt  ({run.prompt.nbytes:,} bytes)")
    assert run.folder is not None
    say_line(out, f"use it  {predict_command(run.prompt.spec, run.folder)}")


def _summary(outcome: PetOutcome) -> dict[str, Any]:
    from cuecard.evaluation.report import plain

    found, run = outcome.found, outcome.found.run
    said: dict[str, Any] = {
        "event": "result",
        "folder": run.folder,
        "digest": run.prompt.digest,
        "patterns": found.patterns,
        "generations": found.generations,
        "teacher": found.teacher.pattern,
        "unlabelled": found.unlabelled,
        "validation": run.validation,
        "alarm": run.alarm,
    }
    if run.test is not None:
        said["test"] = run.test.to_dict()
    return dict(plain(said))
