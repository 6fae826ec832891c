"""`cuecard import`: an adapter that PEFT made, as a prompt with its task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from cuecard.cli.options import Overwrite, listed, pairs, unescaped
from cuecard.cli.sources import NamedBackbone
from cuecard.cli.views.console import Json, print_json
from cuecard.errors import ConfigError
from cuecard.tasks.kinds import KINDS


def import_prompt(
    made: Annotated[
        Path,
        typer.Argument(
            metavar="ADAPTER",
            help="A folder that PEFT's save_pretrained wrote, a .npy file of [P, H] floats, or "
            "words: a text (.txt), DSPy's program (.json), promptfoo's configuration (.yaml).",
            show_default=False,
        ),
    ],
    dest: Annotated[
        Path,
        typer.Argument(metavar="DEST", help="The prompt's new folder.", show_default=False),
    ],
    source: NamedBackbone,
    template: Annotated[
        str | None,
        typer.Option(
            help=r"The template it was trained with, such as '{text}\nLabel:'; of DSPy's program "
            "that of a record. Texts and promptfoo bring their own.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="The labels, separated by commas.", show_default=False)
    ] = None,
    word: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=WORD",
            help="The word the model says for a label; may be repeated.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        str, typer.Option(help=f"What it answers with: {', '.join(KINDS)}.")
    ] = "classification",
    chat: Annotated[
        bool, typer.Option("--chat", help="The template is a message in the chat format.")
    ] = False,
    label_field: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column of the label in data files.")
    ] = "label",
    max_length: Annotated[int, typer.Option(min=1, help="The most input tokens.")] = 512,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER",
            help="Of a multitask adapter: the task, or shared for the prompt that tasks share.",
            show_default=False,
        ),
    ] = None,
    tests: Annotated[
        Path | None,
        typer.Option(
            "--tests-out",
            metavar="FILE",
            help="Of promptfoo: write its tests as labelled rows (JSON lines).",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Import a PEFT adapter, an array or words as a prompt for one task and backbone.

    Adapters: PROMPT_TUNING, P_TUNING, PREFIX_TUNING and MULTITASK_PROMPT_TUNING. Arrays: `.npy`.

    Example: cuecard import adapter prompts/reviews --backbone smollm2-135m-instruct
    --template 'Review: {text}\\nSentiment:' --labels negative,positive

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C.
    """
    from cuecard.artifacts import import_npy, import_peft
    from cuecard.artifacts.words import READERS, import_words, read_parts
    from cuecard.cli.views.progress import fetch_progress
    from cuecard.plain_files import write_text
    from cuecard.tasks import TaskSpec

    parts = read_parts(made) if made.suffix in READERS and not made.is_dir() else None
    if template is None and (parts is None or parts.template is None):
        raise ConfigError(
            "this prompt needs a template for a record",
            where="--template",
            got="none",
            expected=r"the text around a record's fields, such as 'Review: {text}\nSentiment:'",
        )
    spec = TaskSpec.parse(
        {
            "kind": kind,
            "template": unescaped(template) if template is not None else parts and parts.template,
            "labels": listed(labels),
            "words": pairs(word or (), "--word"),
            "chat": chat or (parts is not None and parts.chat),
            "target_field": label_field,
            "max_length": max_length,
        }
    )
    with fetch_progress(json=as_json) as progress:
        model = source.load(progress)
    if parts is not None:
        prompt = import_words(parts, model, spec, made.name)
    elif made.is_file():
        if task is not None:
            raise ConfigError(
                "a task of an array that has none", where="--task", got=task, expected="none"
            )
        prompt = import_npy(made, model, spec)
    else:
        prompt = import_peft(made, model, spec, task=_task(task))
    rows = None if tests is None else _test_rows(made, label_field)
    folder = prompt.save(dest, overwrite=overwrite)
    if tests is not None and rows is not None:
        write_text(rows, tests)
    if as_json:
        print_json({"folder": folder, "digest": prompt.digest, "bytes": prompt.nbytes})
    else:
        typer.echo(
            f"prompt  {folder}  ({prompt.injection().length} positions, {prompt.nbytes:,} bytes)"
        )


def _test_rows(made: Path, label_field: str) -> str:
    from cuecard.artifacts.words import read_promptfoo_tests
    from cuecard.artifacts.words.promptfoo_config import TARGET_NAME

    rows = [
        json.dumps({label_field if k == TARGET_NAME else k: v for k, v in row.items()})
        for row in read_promptfoo_tests(made)
    ]
    return "".join(f"{row}\n" for row in rows)


def _task(text: str | None) -> int | Literal["shared"] | None:
    if text is None or text == "shared":
        return None if text is None else "shared"
    try:
        return int(text)
    except ValueError:
        raise ConfigError(
            "the task is not a number", where="--task", got=text, expected="0, or shared"
        ) from None
