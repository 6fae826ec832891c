"""`cuecard predict`: what a prompt answers to new texts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cuecard.cli.options import BatchRows, Limit, Part, ShardOf, TextField, pairs
from cuecard.cli.output import check_new_folder, check_place, writing
from cuecard.cli.sources import PromptSource
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_table
from cuecard.errors import ConfigError
from cuecard.shards import Shard
from cuecard.types import Prediction, Record
from cuecard.validation_text import counted

if TYPE_CHECKING:
    from cuecard.artifacts.bound_prompt import BoundPrompt
    from cuecard.tasks.kinds.base import TaskKind

_FEW = 50  # so many rows are soon answered, and need no progress


def predict(
    source: PromptSource,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="Texts to answer; image files, folders of them or patterns such as '*.jpg'.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A data file, a plain file with a text per line, or - for standard input.",
            show_default=False,
        ),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A field of the template, for every text; may be repeated.",
            show_default=False,
        ),
    ] = None,
    text_field: TextField = None,
    split: Part = None,
    limit: Limit = None,
    shard: ShardOf = None,
    predictions_out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the answers as JSON lines.", show_default=False),
    ] = None,
    masks_out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write the masks of images as PNG files into a new folder.",
            show_default=False,
        ),
    ] = None,
    batch_rows: BatchRows = 32,
    as_json: Json = False,
) -> None:
    """Predict labels with their probabilities, or generate texts, for new inputs.

    Prompts of kind embedding give each text's vector, as a line of JSON. Those of kind
    image-segmentation find a part of each image: its area and the box around it are shown, the mask
    itself is in --masks-out, and as COCO's runs in --json and --predictions-out.

    When the output is not a terminal: one line per text, with answer, probability and text
    separated by tabs.

    --shard 0/4 answers the first quarter of the rows, 1/4 the second, and so on, for processes that
    need not know of each other: their outputs one after the other are that of all rows.

    Example: cuecard predict runs/reviews "a gob of drivel" "warm, funny and true"

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C.
    """
    from cuecard.cli.rows import file_rows, typed_rows
    from cuecard.cli.views.progress import fetch_progress, rows_progress
    from cuecard.evaluation.answers import answer_rows, save_answers, save_masks
    from cuecard.names import data_source

    if file is not None and texts:
        raise ConfigError(
            "texts and a file",
            where="--file",
            got=f"{counted(len(texts), 'text')} and {file}",
            expected="one",
        )
    check_place(predictions_out, "--predictions-out")
    check_new_folder(masks_out, "--masks-out")
    given = pairs(field or (), "--field")
    saved = source.find()
    spec = saved.spec
    if masks_out is not None and spec.mode != "pixels":
        raise ConfigError(
            "only masks can be written as images",
            where="--masks-out",
            got=f"a prompt of kind {spec.kind}",
            expected="a prompt of kind image-segmentation",
        )
    share = Shard(0, 1) if shard is None else Shard.parse(shard)
    # The rows first: a mistake in them need not wait for a model.
    with fetch_progress(json=as_json) as progress:
        path = None if file is None else str(data_source(file, progress))
    if path is None:
        records = typed_rows(spec, texts or (), given)
    else:
        column = text_field or saved.text_field
        records = file_rows(spec, path, given, text_field=column, split=split, limit=limit)
    block = share.block(len(records))
    records, first = records[block], block.start + 1
    with fetch_progress(json=as_json) as progress:
        bound = source.open(saved, progress)
    if spec.mode == "vector":
        _embed(bound, records, batch_rows, predictions_out, as_json)
        return
    with rows_progress("Answering", len(records), json=as_json, least=_FEW) as more:
        answers = bound.predict(records, batch_rows=batch_rows, on_rows=more) if records else []
    if predictions_out is not None:
        with writing("--predictions-out"):
            save_answers(records, answers, predictions_out, spec.task_kind, first=first)
    if masks_out is not None:
        with writing("--masks-out"):
            save_masks(records, answers, masks_out, first=first)
    if as_json:
        rows = answer_rows(records, answers, spec.task_kind, first=first)
        print_json(
            {"digest": bound.prompt.digest, "backbone": bound.backbone.name, "predictions": rows}
        )
    elif predictions_out is None and masks_out is None:
        _print_answers(records, answers, spec.task_kind, console())
    else:
        files = " and ".join(str(path) for path in (predictions_out, masks_out) if path is not None)
        typer.echo(f"{counted(len(answers), 'answer')} in {files}")


def _embed(
    bound: BoundPrompt,
    records: Sequence[Record],
    batch_rows: int,
    file: Path | None,
    as_json: bool,
) -> None:
    from cuecard.cli.views.embeddings import embedding_lines, embedding_rows
    from cuecard.cli.views.progress import rows_progress
    from cuecard.plain_files import write_text

    (field,) = bound.spec.field_names
    texts = [record.text(field) for record in records]
    with rows_progress("Answering", len(records), json=as_json, least=_FEW) as more:
        vectors = bound.embed(texts, batch_rows=batch_rows, on_rows=more)
    if file is not None:
        with writing("--predictions-out"):
            write_text("".join(embedding_lines(records, vectors)), file)
    if as_json:
        rows = embedding_rows(records, vectors)
        print_json(
            {"digest": bound.prompt.digest, "backbone": bound.backbone.name, "embeddings": rows}
        )
    elif file is None:
        sys.stdout.writelines(embedding_lines(records, vectors))
    else:
        typer.echo(f"{counted(len(records), 'vector')} in {file}")


def _print_answers(
    records: Sequence[Record],
    answers: Sequence[Prediction],
    kind: TaskKind[Any],
    out: Console,
) -> None:
    rows = [
        (kind.shown(answer), _probability(answer), _shown(record))
        for record, answer in zip(records, answers, strict=True)
    ]
    if not out.is_terminal:
        for row in rows:
            sys.stdout.write("\t".join(" ".join(cell.split()) for cell in row) + "\n")
        return
    print_table(out, ("answer", "probability", "text"), rows, left=("text",))


def _shown(record: Record) -> str:
    """A record's texts; the file of an image."""
    return " | ".join(filter(None, record.texts.values())) if not record.images else record.source


def _probability(answer: Prediction) -> str:
    found = answer.probabilities.get(answer.answer)
    return "-" if found is None else f"{found:.3f}"
