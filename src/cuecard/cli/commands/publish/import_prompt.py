"""`cuecard import`: an adapter that PEFT made, as a prompt with its task."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cuecard.artifacts.files import PEFT_FILE, TENSOR_FILE
from cuecard.cli.options import Overwrite, listed, pairs, unescaped
from cuecard.cli.sources import NamedBackbone
from cuecard.cli.views.console import Json, print_json
from cuecard.errors import ConfigError
from cuecard.tasks.kinds import KINDS

if TYPE_CHECKING:
    from cuecard.artifacts import Prompt
    from cuecard.artifacts.words.parts import PromptParts
    from cuecard.tasks import TaskSpec


def import_prompt(
    made: Annotated[
        str,
        typer.Argument(
            metavar="ADAPTER",
            help="A folder that PEFT's save_pretrained wrote, or hf://OWNER/NAME of one; a .npy "
            "file of [P, H] floats; or words: a text (.txt), DSPy's program (.json), promptfoo's "
            "configuration (.yaml).",
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

    Adapters: PROMPT_TUNING, P_TUNING, PREFIX_TUNING, CARTRIDGE and MULTITASK_PROMPT_TUNING. An
    array is an `.npy` file.
    One on the Hub is fetched at its newest commit, or at that of hf://OWNER/NAME@COMMIT.

    Example: cuecard import adapter prompts/reviews --backbone smollm2-135m-instruct
    --template 'Review: {text}\\nSentiment:' --labels negative,positive

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C.
    """
    from cuecard.artifacts.words import READERS, read_parts
    from cuecard.plain_files import write_text
    from cuecard.tasks import TaskSpec

    with _local(made) as path:
        parts = read_parts(path) if path.suffix in READERS and not path.is_dir() else None
        if template is None and (parts is None or parts.template is None):
            raise ConfigError(
                "this prompt needs a template for a record",
                where="--template",
                got="none",
                expected=r"the text around a record's fields, such as 'Review: {text}\nSentiment:'",
            )
        own = parts.template if parts is not None else None
        spec = TaskSpec.parse(
            {
                "kind": kind,
                "template": unescaped(template) if template is not None else own,
                "labels": listed(labels),
                "words": pairs(word or (), "--word"),
                "chat": chat or (parts is not None and parts.chat),
                "target_field": label_field,
                "max_length": max_length,
            }
        )
        prompt = _imported(path, parts, source, spec, task, as_json)
        rows = None if tests is None else _test_rows(path, label_field)
    folder = prompt.save(dest, overwrite=overwrite)
    if tests is not None and rows is not None:
        write_text(rows, tests)
    if as_json:
        print_json({"folder": folder, "digest": prompt.digest, "bytes": prompt.nbytes})
    else:
        typer.echo(
            f"prompt  {folder}  ({prompt.injection().length} positions, {prompt.nbytes:,} bytes)"
        )


@contextmanager
def _local(made: str) -> Iterator[Path]:
    """Where it is on this machine, for as long as it is read; one on the Hub is fetched."""
    from cuecard.registry.hub import SCHEME, download, parse_hub

    if not made.startswith(SCHEME):
        yield Path(made)
        return
    place = parse_hub(made)
    with TemporaryDirectory(prefix="cuecard-") as temporary:
        commit = download(place, (PEFT_FILE, TENSOR_FILE), Path(temporary))
        typer.echo(f"fetched {SCHEME}{place.repository}@{commit}", err=True)
        yield Path(temporary)


def _imported(
    path: Path,
    parts: PromptParts | None,
    source: NamedBackbone,
    spec: TaskSpec,
    task: str | None,
    as_json: bool,
) -> Prompt:
    from cuecard.artifacts import import_npy, import_peft
    from cuecard.artifacts.words import import_words
    from cuecard.cli.views.progress import fetch_progress

    with fetch_progress(json=as_json) as progress:
        model = source.load(progress)
    if parts is not None:
        return import_words(parts, model, spec, path.name)
    if not path.is_file():
        return import_peft(path, model, spec, task=_task(task))
    if task is not None:
        raise ConfigError(
            "a task of an array that has none", where="--task", got=task, expected="none"
        )
    return import_npy(path, model, spec)


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
