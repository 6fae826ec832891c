"""`cuecard compile`: a long text in front of every request becomes a short prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

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
        "compiling.into": Flag("--into", metavar="LENGTHS"),
        "questions": Flag(),
        "text_field": Flag(metavar="COLUMN"),
        "label_field": Flag(metavar="COLUMN"),
        "limit": Flag(),
        "template": Flag(read=unescaped),
        "input_field": Flag(metavar="NAME"),
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
        **dict.fromkeys(("questions", "text_field", "label_field", "limit"), "Data"),
        **dict.fromkeys(("template", "input_field", "labels", "chat", "system"), "Task"),
        **dict.fromkeys(("max_length", "max_new_tokens"), "Task"),
        **BACKBONE_TITLES,
    },
)


class GivenTexts(BaseModel):
    """Which texts are compiled, and what is asked of each."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    titles: ClassVar[Mapping[str, str]] = dict.fromkeys(("inputs", "eval"), "Data")

    texts: Annotated[tuple[str, ...], Flag("TEXT...", repeat=True)] = Field(
        default=(),
        description="The text that stands in front of every request: a file. Of several, each "
        "becomes a prompt of its own, trained in shared passes.",
    )
    inputs: Annotated[tuple[str, ...], Flag(metavar="FILE", repeat=True)] = Field(
        default=(),
        description="Inputs to learn from, without labels: a text file with one per line, or a "
        "file with the template's columns; of one of several texts NAME=FILE. Without them the "
        "backbone writes questions itself.",
    )
    eval: Annotated[tuple[str, ...], Flag(metavar="FILE", repeat=True)] = Field(
        default=(),
        description="Labelled rows: the full text and the prompts are scored on them, and the "
        "difference gets a paired interval; of one of several texts NAME=FILE.",
    )


def compile_text(
    given: Annotated[Asked[GivenTexts], Fields(GivenTexts)],
    own: Annotated[Asked[CompileRecipe], COMPILE],
    resume_folder: Annotated[Path | None, RESUME] = None,
    dry: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Compile a long text in front of every request into a short prompt that answers alike.

    The backbone answers inputs with the text in front, once; prompts of each length learn what it
    would say, token by token. Held-out inputs say how nearly they agree. The folder (`--out`, by
    default runs/TEXT-compile) gets the prompt, `report.md` and `report.json`; of several texts each
    has a folder in it.

    Example: cuecard compile handbook.md --into 16,64 --inputs questions.txt --chat --tolerance .05

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (what was done is kept).
    """
    from cuecard.cli.views.event_text import text_of_part
    from cuecard.cli.views.progress import TrainView, fetch_progress
    from cuecard.runs.compiling.run import plan_compile, run_compile

    if resume_folder is not None:
        more = [flag for flag, on in {"--overwrite": overwrite, "--dry-run": dry}.items() if on]
        refuse([*given.flags.values(), *own.flags.values(), *more], "a compilation")
        recipes, folder = _to_resume(resume_folder)
    else:
        recipes, folder = _recipes(given.settings(), own)
    if dry:
        with fetch_progress(json=as_json) as progress:
            plans = plan_compile(recipes, progress=progress, overwrite=overwrite)
        for plan in plans.values():
            print_json({"event": "plan", **plan}) if as_json else _print_plan(plan, console())
        return
    with TrainView(text_of_part, json=as_json) as view, fetch_progress(json=as_json) as progress:
        outcomes = run_compile(
            recipes, folder, observer=view, progress=progress, overwrite=overwrite
        )
    for name, outcome in outcomes.items():
        if as_json:
            print_json(_summary(outcome))
        else:
            _print(outcome, console(), name if len(outcomes) > 1 else None)


def _recipes(given: GivenTexts, own: Asked[CompileRecipe]) -> tuple[dict[str, CompileRecipe], Path]:
    """The recipe of each text, and the folder that all are in.

    Raises:
        ConfigError: no text, two of one name, or several files of inputs for one.
    """
    from cuecard.runs.compiling.rows import files_by_name
    from cuecard.runs.compiling.run import FOLDER, names_of

    texts = names_of(given.texts)
    if not texts:
        raise ConfigError(
            "there is no text", where="cuecard compile", expected="a file, or --resume"
        )
    inputs = files_by_name(given.inputs, texts, "--inputs", "text")
    labelled = files_by_name(given.eval, texts, "--eval", "text")
    shared = own.settings(text=given.texts[0])
    found = {
        name: shared.model_copy(
            update={"text": text, "inputs": inputs.get(name), "eval": labelled.get(name)}
        )
        for name, text in texts.items()
    }
    if len(texts) == 1:
        return found, next(iter(found.values())).folder
    folder = Path(shared.out) if shared.out else FOLDER
    return {name: each.in_folder(folder / name) for name, each in found.items()}, folder


def _to_resume(folder: Path) -> tuple[dict[str, CompileRecipe], Path]:
    """The recipes of a run's folder, or of the folder of several texts' runs.

    Raises:
        TrainingError: there is no compilation.
    """
    from cuecard.runs.compiling.run import runs_in
    from cuecard.runs.folder import RunFolder

    several = runs_in(folder)
    if several and not (folder / CompileRecipe.KIND.file).exists():
        return several, folder
    only = RunFolder(folder, CompileRecipe).to_resume()
    return {folder.name: only}, folder


def _print(outcome: CompileOutcome, out: Console, name: str | None) -> None:
    from cuecard.runs.compiling.report import cells, columns, notes

    if name is not None:
        say_line(out, f"\n{name}")
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
