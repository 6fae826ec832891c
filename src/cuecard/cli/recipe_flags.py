"""The flags that say what a recipe says, for every command that takes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
import yaml

from cuecard.cli.options import pairs
from cuecard.errors import ConfigError

if TYPE_CHECKING:
    from cuecard.runs.recipe import Recipe

Text = str | None


class Given:
    """What was given of a recipe: flags, nested as the recipe is, and a file."""

    def __init__(self, flags: dict[str, Any], file: Path | None) -> None:
        self._flags, self._file = flags, file

    def refuse(self, what: str) -> None:
        """For a command that takes its settings from a folder.

        Raises:
            ConfigError: something was given.
        """
        if self._flags or self._file:
            raise ConfigError(
                f"{what} goes on with its own settings",
                where="--resume",
                got=", ".join(self._flags) or str(self._file),
                expected="--resume alone",
            )

    def recipe(self, command: str) -> Recipe:
        """The checked recipe; flags win over the file.

        Raises:
            ConfigError: no data, an unknown key, or a value that does not fit.
        """
        from cuecard.runs.recipe import Recipe, read_recipe

        base = {} if self._file is None else read_recipe(self._file)
        values = _merged(base, self._flags)
        data = values.get("data", {})
        if isinstance(data, dict) and "path" not in data:
            raise ConfigError(
                "there is no data", where=command, expected="a file, or a recipe with data"
            )
        return Recipe.parse(values, "the command line" if self._file is None else str(self._file))


def takes_recipe(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the recipe's flags; its first parameter gets them as `Given`."""
    shared, own = _parameters(_flags), _parameters(command)[1:]

    @wraps(command)
    def call(**options: Any) -> None:
        given = _flags(**{p.name: options.pop(p.name) for p in shared})
        command(given, **options)

    parameters = [*shared, *own]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    del call.__wrapped__  # or its own signature would be read
    return call


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """As `inspect` gives them, all by keyword and with annotations that are no texts."""
    hints = get_type_hints(function, include_extras=True)
    return [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[p.name])
        for p in inspect.signature(function).parameters.values()
    ]


def _flags(
    data: Annotated[
        Text,
        typer.Argument(
            metavar="DATA",
            help="CSV, TSV, JSONL or Parquet file, a saved datasets folder, a catalogue "
            "dataset, or a hub set's name.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A YAML recipe; flags given beside it win.")
    ] = None,
    text_field: Annotated[Text, typer.Option(help="Column of {text}.  [text]")] = None,
    label_field: Annotated[
        Text,
        typer.Option(
            help="Column of the label, or of what the kind has in its place; for multi-label also "
            "columns of 0 and 1, separated by commas.  [label, tags, answers]"
        ),
    ] = None,
    options_field: Annotated[
        Text,
        typer.Option(help="Column of the options, or one for each, by commas.  [options]"),
    ] = None,
    validation: Annotated[Text, typer.Option(help="A file with the validation rows.")] = None,
    test: Annotated[Text, typer.Option(help="A file with the test rows.")] = None,
    split_field: Annotated[Text, typer.Option(help="Column that names each row's split.")] = None,
    group_field: Annotated[
        Text,
        typer.Option(
            help="Column whose equal values stay in one split, such as a question, a document or a "
            "person; none for no groups.  [fields of the template whose texts repeat]"
        ),
    ] = None,
    split_seed: Annotated[
        int | None, typer.Option(help="Another seed, other validation and test rows.  [0]")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Use at most this many training rows.")] = None,
    allow_empty: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="A field of the template that rows may leave empty; may be repeated.",
        ),
    ] = None,
    kind: Annotated[
        Text,
        typer.Option(
            help="classification, text-to-text, multi-label, regression, multiple-choice, tagging, "
            "extractive-qa or embedding.  [classification]"
        ),
    ] = None,
    head: Annotated[
        Text, typer.Option(help="trained: tell a classification's labels apart by a head.")
    ] = None,
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
    quantize: Annotated[
        Text, typer.Option(help="Hold its weights as int8, int4, nf4 or llm-int8.")
    ] = None,
    adapter: Annotated[
        Text,
        typer.Option(
            metavar="FOLDER", help="A LoRA adapter in PEFT's format, merged into the backbone."
        ),
    ] = None,
    device: Annotated[Text, typer.Option(help="auto, cpu, cuda, cuda:N.")] = None,
    method: Annotated[Text, typer.Option(help="See `cuecard methods`.  [prompt-tuning]")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.NAME=VALUE",
            help="Any setting of a recipe, such as method.hidden=256; may be repeated.",
        ),
    ] = None,
    length: Annotated[int | None, typer.Option(help="Prompt vectors, 1 to 1,000.")] = None,
    init: Annotated[Text, typer.Option(help="text, vocabulary, labels, random or prompt.")] = None,
    init_text: Annotated[Text, typer.Option(help="The text to start from.")] = None,
    init_prompt: Annotated[Text, typer.Option(help="A prompt's folder to start from.")] = None,
    slot: Annotated[
        Text, typer.Option(help="prefix, suffix, or infix: at {prompt} in the template.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    batch_rows: Annotated[int | None, typer.Option(help="Rows per forward pass.")] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(help="The most rows times longest row of a forward pass.")
    ] = None,
    lr: Annotated[Text, typer.Option(help="A number, or auto for a short sweep.")] = None,
    head_lr: Annotated[float | None, typer.Option(help="The head's own.  [0.001]")] = None,
    optimizer: Annotated[Text, typer.Option(help="adamw or adafactor.")] = None,
    loss: Annotated[Text, typer.Option(help="auto, labels or tokens.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many validations without a gain.")
    ] = None,
    activations: Annotated[
        Text, typer.Option(help="auto, keep or recompute: what the backward pass needs.")
    ] = None,
    calibrate: Annotated[
        bool | None,
        typer.Option(
            "--calibrate/--no-calibrate",
            help="Fit a number per label on the validation rows that is taken off its score.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the init and the order of the rows.")] = None,
    out: Annotated[Text, typer.Option(help="The run's folder.  [runs/DATA]")] = None,
    compare: Annotated[
        bool | None,
        typer.Option("--compare/--no-compare", help="Compare with hand-written prompts."),
    ] = None,
) -> Given:
    flags = {
        "data": {
            "path": data,
            "text_field": text_field,
            "label_field": label_field,
            "validation": validation,
            "test": test,
            "split_field": split_field,
            "group_field": group_field,
            "split_seed": split_seed,
            "limit": limit,
            "allow_empty": allow_empty or None,
        },
        "task": {
            "kind": kind,
            "head": head,
            "options_field": options_field,
            "template": None if template is None else template.replace("\\n", "\n"),
            "labels": None if labels is None else [x.strip() for x in labels.split(",")],
            "words": _words(word),
            "chat": chat,
            "max_length": max_length,
        },
        "backbone": backbone,
        "dtype": dtype,
        "quantize": quantize,
        "adapter": adapter,
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
            "batch_tokens": batch_tokens,
            "lr": _rate(lr),
            "head_lr": head_lr,
            "optimizer": optimizer,
            "loss": loss,
            "patience": patience,
            "activations": activations,
            "calibrate": calibrate,
            "seed": seed,
        },
        "compare": compare,
        "out": out,
    }
    return Given(_merged(_set(settings or ()), _given(flags)), recipe)


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


def _set(texts: Iterable[str]) -> dict[str, Any]:
    """SECTION.NAME=VALUE texts, nested as the recipe is; values are YAML."""
    found: dict[str, Any] = {}
    for name, text in pairs(texts, "--set").items():
        *sections, last = name.split(".")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(
                "a value that is no YAML", where="--set", got=f"{name}={text}", expected="8 or true"
            ) from error
        nested: dict[str, Any] = {last: value}
        for section in reversed(sections):
            nested = {section: nested}
        found = _merged(found, nested)
    return found


def _words(texts: list[str] | None) -> dict[str, str]:
    words = {}
    for text in texts or []:
        label, equals, word = text.partition("=")
        if not (label and equals and word):
            raise ConfigError("a word is not given as LABEL=WORD", where="--word", got=text)
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
