"""`cuecard compile`: a long text in front of every request becomes a short prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.options import RESUME, DryRun, Overwrite, unescaped
from cuecard.cli.recipe_flags import BACKBONE_FLAGS, BACKBONE_TITLES, refuse
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_facts, print_table, say, say_line
from cuecard.cli.views.usage_line import predict_command
from cuecard.errors import ConfigError
from cuecard.runs.compiling.recipe import CompileRecipe

if TYPE_CHECKING:
    from rich.console import Console

    from cuecard.runs.compiling.run import CompileOutcome

COMPILE = Fields(
    CompileRecipe,
    {
        "text": Flag("TEXT", optional=True),
        "compiling.into": Flag("--into", metavar="LENGTHS"),
        "inputs": Flag(metavar="FILE"),
        "questions": Flag(),
        "eval": Flag(metavar="FILE"),
        "text_field": Flag(metavar="COLUMN"),
        "label_field": Flag(metavar="COLUMN"),
        "limit": Flag(),
        "template": Flag(read=unescaped),
        "labels": Flag(),
        "chat": Flag(),
        "system": Flag(),
        "max_length": Flag(),
        "max_new_tokens": Flag(),
        "compiling.injection": Flag("--as"),
        "compiling.start": Flag("--start"),
        "compiling.tolerance": Flag("--tolerance"),
        "compiling.top": Flag("--top"),
        "training.steps": Flag(),
        "training.batch_rows": Flag(),
        "training.lr": Flag(),
        "training.activations": Flag(),
        "training.seed": Flag(),
        **BACKBONE_FLAGS,
        "out": Flag(metavar="FOLDER"),
    },
    titles={
        "compiling": "Prompt",
        "training": "Training",
        **dict.fromkeys(
            ("inputs", "questions", "eval", "text_field", "label_field", "limit"), "Data"
        ),
        **dict.fromkeys(
            ("template", "labels", "chat", "system", "max_length", "max_new_tokens"), "Task"
        ),
        **BACKBONE_TITLES,
    },
)


def compile_text(
    own: Annotated[Asked[CompileRecipe], COMPILE],
    resume_folder: Annotated[Path | None, RESUME] = None,
    dry: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Compile a long text in front of every request into a short prompt that answers alike.

    The backbone answers inputs with the text in front, once; prompts of each length learn what it
    would say, token by token. Held-out inputs say how nearly they agree. The folder (`--out`, by
    default runs/TEXT-compile) gets the prompt, `report.md` and `report.json`.

    Example: cuecard compile handbook.md --into 16,64 --inputs questions.txt --chat --tolerance .05

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (what was done is kept).
    """
    from cuecard.cli.views.progress import TrainView, fetch_progress
    from cuecard.runs.compiling.run import plan_compile, resume_compile, run_compile

    if resume_folder is not None:
        more = [flag for flag, on in {"--overwrite": overwrite, "--dry-run": dry}.items() if on]
        refuse([*own.flags.values(), *more], "a compilation")
        with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
            outcome = resume_compile(resume_folder, observer=view, progress=progress)
    else:
        if "text" not in own.values:
            raise ConfigError(
                "there is no text", where="cuecard compile", expected="a file, or --resume"
            )
        recipe = own.settings()
        if dry:
            with fetch_progress(json=as_json) as progress:
                plan = plan_compile(recipe, progress=progress, overwrite=overwrite)
            print_json({"event": "plan", **plan}) if as_json else _print_plan(plan, console())
            return
        with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
            outcome = run_compile(recipe, observer=view, progress=progress, overwrite=overwrite)
    print_json(_summary(outcome)) if as_json else _print(outcome, console())


def _print(outcome: CompileOutcome, out: Console) -> None:
    from cuecard.runs.compiling.report import cells, columns, notes

    rows = cells(outcome.report)
    kept = outcome.report["kept"]["length"]
    bold = [
        place
        for place, row in enumerate(outcome.report["rows"])
        if row["prompt"] == "compiled" and row["length"] == kept
    ]
    print_table(out, columns(outcome.report), rows, bold=bold)
    for note in notes(outcome.report):
        say(out, note)
    say_line(out, f"\nprompt  {outcome.folder}/prompt")
    say_line(out, f"use it  {predict_command(outcome.spec, outcome.folder)}")


def _print_plan(plan: dict[str, Any], out: Console) -> None:
    facts = [
        ("text", f"{plan['text_tokens']:,} tokens, {plan['text_kv_bytes']:,} bytes of KV"),
        ("inputs", f"{plan['inputs']:,}{' to be written' if plan['written'] else ''}"),
        ("answers", f"at most {plan['answer_tokens']:,} tokens with the full text in front"),
    ]
    facts += [
        (
            f"into {each['length']:,}",
            f"{each['kv_bytes']:,} bytes of KV, {each['steps']:,} steps, {each['rows']:,} rows",
        )
        for each in plan["lengths"]
    ]
    print_facts(out, [*facts, ("folder", plan["folder"])])


def _summary(outcome: CompileOutcome) -> dict[str, Any]:
    report = {name: value for name, value in outcome.report.items() if name != "key"}
    return {"event": "result", "folder": str(outcome.folder), **report}
