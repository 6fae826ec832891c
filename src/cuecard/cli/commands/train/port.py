"""`cuecard port`: prompts for another backbone, from what the old ones answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from pydantic import BaseModel, ConfigDict, Field

from cuecard.catalogue import BACKBONES
from cuecard.cli.completion import version_names
from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.options import RESUME, DryRun, Overwrite
from cuecard.cli.recipe_flags import BACKBONE_FLAGS, BACKBONE_TITLES, refuse
from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace, Why
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_facts, print_table, say, say_line
from cuecard.cli.views.usage_line import command_line
from cuecard.errors import ConfigError
from cuecard.runs.porting.recipe import PortRecipe

if TYPE_CHECKING:
    from rich.console import Console

    from cuecard.runs.porting.run import PortOutcome
    from cuecard.saved_prompts.ported import PublishedPort

PORT = Fields(
    PortRecipe,
    {
        **BACKBONE_FLAGS,
        "backbone": Flag("--to", metavar="NAME", names=lambda _: BACKBONES, optional=True),
        "text_field": Flag(metavar="COLUMN"),
        "label_field": Flag(metavar="COLUMN"),
        "limit": Flag(),
        "porting.method": Flag(metavar="NAME"),
        "porting.length": Flag(),
        "porting.top": Flag(),
        "porting.tolerance": Flag(),
        "porting.margin": Flag(),
        "training.steps": Flag(),
        "training.batch_rows": Flag(),
        "training.lr": Flag(),
        "training.activations": Flag(),
        "training.seed": Flag(),
        "out": Flag(metavar="FOLDER"),
    },
    titles={
        "porting": "Prompt",
        "training": "Training",
        **dict.fromkeys(("text_field", "label_field", "limit"), "Data"),
        **BACKBONE_TITLES,
    },
)


class OldPrompts(BaseModel):
    """Which prompts are ported, and what they are asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    titles: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("inputs", "tests"), "Data"),
        "old_backbone": "Backbone",
    }

    prompts: Annotated[tuple[str, ...], Flag("PROMPT...", repeat=True, names=version_names)] = (
        Field(
            default=(),
            description="Versions in a registry (NAME@ALIAS, NAME@NUMBER), or prompts' or runs' "
            "folders.",
        )
    )
    every: Annotated[str | None, Flag("--all", metavar="ALIAS")] = Field(
        default=None,
        description="Port every prompt of the registry that has this alias; latest takes all.",
    )
    inputs: Annotated[tuple[str, ...], Flag(metavar="FILE", repeat=True)] = Field(
        default=(),
        description="Inputs without labels, one per line or with the template's columns; of one "
        "prompt NAME=FILE.",
    )
    tests: Annotated[tuple[str, ...], Flag(metavar="FILE", repeat=True)] = Field(
        default=(),
        description="Labelled rows on which the new prompt must be no worse; of one prompt "
        "NAME=FILE.",
    )
    old_backbone: Annotated[str | None, Flag("--from-backbone", metavar="NAME")] = Field(
        default=None,
        description="What the old prompts are asked on; by default the one that each names.",
    )


def port(
    old: Annotated[Asked[OldPrompts], Fields(OldPrompts)],
    own: Annotated[Asked[PortRecipe], PORT],
    push: Annotated[
        bool,
        typer.Option(
            "--push", help="Push what passes as the next version of its name in the registry."
        ),
    ] = False,
    alias: Annotated[
        str | None,
        typer.Option(
            "--promote",
            metavar="ALIAS",
            help="Push what passes, and point this alias at it.",
            show_default=False,
        ),
    ] = None,
    why: Why = "",
    registry: RegistryPlace = DEFAULT_REGISTRY,
    resume_folder: Annotated[Path | None, RESUME] = None,
    dry: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Port prompts to another backbone: new ones learn, without labels, what the old ones answer.

    Each old prompt answers the inputs once; the new prompts are trained on that in shared passes
    and compared on inputs held out. The folder (`--out`, by default runs/NAME-port) gets them in
    `prompts`, `report.md` and `report.json`.

    Example: cuecard port reviews@production --to qwen2.5-coder-0.5b-instruct --inputs texts.txt

    Exit codes: 0 done, 2 bad input or a prompt that does not pass (--push, --promote), 130 stopped
    by Ctrl-C (what was done is kept).
    """
    from cuecard.cli.views.event_text import text_of_part
    from cuecard.cli.views.progress import TrainView, fetch_progress
    from cuecard.runs.porting.run import plan_port, resume_port, run_port
    from cuecard.saved_prompts.ported import check_passed, check_publishable, publish_ported

    publishes = push or alias is not None
    with TrainView(text_of_part, json=as_json) as view, fetch_progress(json=as_json) as progress:
        if resume_folder is not None:
            more = [flag for flag, on in {"--overwrite": overwrite, "--dry-run": dry}.items() if on]
            refuse([*old.flags.values(), *own.flags.values(), *more], "a port")
            outcome = resume_port(resume_folder, observer=view, progress=progress)
        else:
            recipe = _recipe(old.settings(), own, registry)
            if publishes:
                check_publishable([*recipe.prompts], alias)
            if dry:
                plan = plan_port(recipe, progress=progress, overwrite=overwrite)
                print_json({"event": "plan", **plan}) if as_json else _print_plan(plan, console())
                return
            outcome = run_port(recipe, observer=view, progress=progress, overwrite=overwrite)
    published: dict[str, PublishedPort] = {}
    if publishes:
        published = publish_ported(outcome, registry, alias=alias, why=why)
    if as_json:
        print_json(_summary(outcome, published))
    else:
        _print(outcome, published, console())
    if publishes:
        check_passed(outcome)


def _recipe(old: OldPrompts, own: Asked[PortRecipe], registry: str) -> PortRecipe:
    """
    Raises:
        ConfigError: no prompts, or no new backbone.
    """
    from cuecard.saved_prompts.ported import old_prompts, references_with

    places = [*old.prompts, *([] if old.every is None else references_with(old.every, registry))]
    missing = [
        what
        for what, there in (("prompts", places), ("--to", "backbone" in own.values))
        if not there
    ]
    if missing:
        raise ConfigError(
            "there is nothing to port",
            where="cuecard port",
            got=f"no {' and no '.join(missing)}",
            expected="prompts (or --all ALIAS) and --to with a backbone, or --resume with a folder",
        )
    found = old_prompts(places, old.inputs, old.tests, registry=registry, backbone=old.old_backbone)
    return own.settings(prompts={name: one.model_dump(mode="json") for name, one in found.items()})


def _print(outcome: PortOutcome, published: Mapping[str, PublishedPort], out: Console) -> None:
    from cuecard.runs.porting.report import cells, columns, notes

    report = outcome.report
    print_table(out, columns(report), cells(report), left=("method", "passed"))
    for note in notes(report):
        say(out, note)
    out.print()
    for each in report["prompts"]:
        name = each["name"]
        say_line(out, f"prompt  {outcome.prompt_folder(name)}")
        if name in published:
            made = published[name]
            points = "" if made.alias is None else f", {name}@{made.alias} points at it"
            say_line(out, f"pushed  {made.version}{'' if made.new else ' (there already)'}{points}")
        elif each["passed"]:
            push = command_line("cuecard", "push", outcome.prompt_folder(name), name)
            say_line(out, f"push it {push}")


def _print_plan(plan: Mapping[str, Any], out: Console) -> None:
    facts = [
        (
            each["name"],
            f"from {each['from']}: {each['inputs']:,} inputs, {each['labelled']:,} labelled rows; "
            f"learns {each['learns']} with {each['method']}, {each['length']:,} positions "
            f"({each['slot']})",
        )
        for each in plan["prompts"]
    ]
    steps = f"{plan['steps']:,} for each prompt, {plan['rows']:,} rows"
    print_facts(out, [*facts, ("steps", steps), ("folder", plan["folder"])])


def _summary(outcome: PortOutcome, published: Mapping[str, PublishedPort]) -> dict[str, Any]:
    report = {name: value for name, value in outcome.report.items() if name != "key"}
    pushed = {"pushed": {n: asdict(each) for n, each in published.items()}} if published else {}
    return {"event": "result", "folder": str(outcome.folder), **report, **pushed}
