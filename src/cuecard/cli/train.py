"""`cuecard train`: from labelled examples to a saved prompt with its proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cuecard.cli.console import Json, console, print_json
from cuecard.cli.plan_view import print_plan
from cuecard.cli.progress import TrainView, fetch_progress
from cuecard.cli.proof_view import print_outcome, summary
from cuecard.dry_run import dry_run
from cuecard.errors import ConfigError
from cuecard.recipe import Recipe, read_recipe, resume, run_recipe

Text = str | None


def train(
    data: Annotated[
        Text,
        typer.Argument(
            help="CSV, TSV, JSONL or Parquet file, a saved datasets folder, a catalogue "
            "dataset, or a hub set's name.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A YAML recipe; flags given beside it win.")
    ] = None,
    resume_folder: Annotated[
        Path | None, typer.Option("--resume", help="Go on with the run in this folder.")
    ] = None,
    text_field: Annotated[Text, typer.Option(help="Column of {text}.  [text]")] = None,
    label_field: Annotated[Text, typer.Option(help="Column of the label.  [label]")] = None,
    validation: Annotated[Text, typer.Option(help="A file with the validation rows.")] = None,
    test: Annotated[Text, typer.Option(help="A file with the test rows.")] = None,
    split_field: Annotated[Text, typer.Option(help="Column that names each row's split.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use at most this many training rows.")] = None,
    kind: Annotated[Text, typer.Option(help="classification or text-to-text.")] = None,
    template: Annotated[
        Text, typer.Option(help=r"The input's text, such as 'Review: {text}\nSentiment:'.")
    ] = None,
    labels: Annotated[Text, typer.Option(help="The labels, separated by commas.")] = None,
    word: Annotated[
        list[str] | None, typer.Option(help="LABEL=WORD: the word that stands for a label.")
    ] = None,
    chat: Annotated[
        bool | None, typer.Option("--chat", help="Put the template into the chat format.")
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="The most input tokens.")] = None,
    backbone: Annotated[Text, typer.Option(help="Catalogue name, local folder or hub id.")] = None,
    dtype: Annotated[Text, typer.Option(help="auto, fp32 or bf16.")] = None,
    device: Annotated[Text, typer.Option(help="auto, cpu, cuda, cuda:N.")] = None,
    method: Annotated[Text, typer.Option(help="prompt-tuning.")] = None,
    length: Annotated[int | None, typer.Option(help="Prompt vectors, 1 to 1,000.")] = None,
    init: Annotated[Text, typer.Option(help="text, vocabulary, labels, random or prompt.")] = None,
    init_text: Annotated[Text, typer.Option(help="The text to start from.")] = None,
    init_prompt: Annotated[Text, typer.Option(help="A prompt's folder to start from.")] = None,
    slot: Annotated[Text, typer.Option(help="prefix or suffix.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    batch_rows: Annotated[int | None, typer.Option(help="Rows per forward pass.")] = None,
    lr: Annotated[Text, typer.Option(help="A number, or auto for a short sweep.")] = None,
    optimizer: Annotated[Text, typer.Option(help="adamw or adafactor.")] = None,
    loss: Annotated[Text, typer.Option(help="auto, labels or tokens.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many validations without a gain.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the init, the order and the split.")] = None,
    out: Annotated[Text, typer.Option(help="The run's folder.  [runs/DATA]")] = None,
    compare: Annotated[
        bool | None,
        typer.Option("--compare/--no-compare", help="Compare with hand-written prompts."),
    ] = None,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and train nothing.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start again in a folder that holds another run.")
    ] = False,
    as_json: Json = False,
) -> None:
    r"""Train a prompt, select it on validation rows, and prove it on test rows it never saw.

    Example: cuecard train tickets.csv --text-field message --label-field team --out runs/tickets

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C (the checkpoint is saved).
    """
    flags = {
        "data": {
            "path": data,
            "text_field": text_field,
            "label_field": label_field,
            "validation": validation,
            "test": test,
            "split_field": split_field,
            "limit": limit,
        },
        "task": {
            "kind": kind,
            "template": None if template is None else template.replace("\\n", "\n"),
            "labels": None if labels is None else [x.strip() for x in labels.split(",")],
            "words": _words(word),
            "chat": chat,
            "max_length": max_length,
        },
        "backbone": backbone,
        "dtype": dtype,
        "device": device,
        "method": {
            "name": method,
            "length": length,
            "init": init or ("prompt" if init_prompt else None),
            "text": init_text,
            "prompt": init_prompt,
            "slot": slot,
        },
        "training": {
            "steps": steps,
            "batch_rows": batch_rows,
            "lr": _rate(lr),
            "optimizer": optimizer,
            "loss": loss,
            "patience": patience,
            "seed": seed,
        },
        "compare": compare,
        "out": out,
    }
    given = _given(flags)
    if resume_folder is not None:
        if given or recipe:
            raise ConfigError(
                "a run goes on with its own settings",
                where="--resume",
                got=", ".join(given) or str(recipe),
                expected="--resume alone",
            )
        with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
            outcome = resume(resume_folder, observer=view, progress=progress)
    else:
        values = _merged({} if recipe is None else read_recipe(recipe), given)
        if "path" not in values.get("data", {}):
            raise ConfigError(
                "there is no data", where="cuecard train", expected="a file, or a recipe with data"
            )
        plan = Recipe.parse(values, "the command line" if recipe is None else str(recipe))
        if dry:
            with fetch_progress(json=as_json) as progress:
                found = dry_run(plan, progress=progress)
            print_json(found) if as_json else print_plan(found, console())
            return
        with TrainView(json=as_json) as view, fetch_progress(json=as_json) as progress:
            outcome = run_recipe(plan, observer=view, progress=progress, overwrite=overwrite)
    if as_json:
        print_json(summary(outcome))
    else:
        print_outcome(outcome, console())


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, nested as the recipe is."""
    kept: dict[str, Any] = {}
    for name, value in flags.items():
        inner = _given(value) if isinstance(value, dict) else value
        if inner is not None and inner != {}:
            kept[name] = inner
    return kept


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        both = isinstance(value, dict) and isinstance(below, dict)
        merged[name] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _words(pairs: list[str] | None) -> dict[str, str]:
    words = {}
    for pair in pairs or []:
        label, equals, word = pair.partition("=")
        if not (label and equals and word):
            raise ConfigError("a word is not given as LABEL=WORD", where="--word", got=pair)
        words[label] = word
    return words


def _rate(text: str | None) -> float | str | None:
    if text is None or text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise ConfigError(
            "the learning rate is not a number", where="--lr", got=text, expected="0.01 or auto"
        ) from None
