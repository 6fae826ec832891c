"""`cuecard inspect`: what a prompt is, where it comes from, and what it is near to or looks at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cuecard.cli.output import check_place, writing
from cuecard.cli.sources import PromptSource
from cuecard.cli.views.console import Json, console, print_json
from cuecard.errors import ConfigError
from cuecard.validation_text import counted

if TYPE_CHECKING:
    from cuecard.artifacts import Prompt
    from cuecard.artifacts.nearest import NearestWords
    from cuecard.catalogue import Progress
    from cuecard.saved_prompts import SavedPrompt
    from cuecard.types import Record


def inspect(
    source: PromptSource,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE",
            help="For --png: image files, folders or patterns; by default the run's own.",
            show_default=False,
        ),
    ] = None,
    words: Annotated[
        int, typer.Option(min=1, max=50, help="How many nearest words to name per vector.")
    ] = 3,
    no_words: Annotated[
        bool, typer.Option("--no-words", help="Leave the words out; no backbone is loaded.")
    ] = False,
    png: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw where a prompt for images looks: its attention over some, as a PNG.",
            show_default=False,
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(help="The layer to draw, from 1; by default the last.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=64, help="Draw at most N images.")] = 6,
    as_json: Json = False,
) -> None:
    """Show a prompt's size, task, provenance and metrics, and the words nearest to its vectors.

    With the words the backbone is loaded, and the prompt is checked against it. A prompt for images
    is near to no words; --png draws its attention over images.

    Example: cuecard inspect runs/reviews --no-words

    Example: cuecard inspect runs/pictures new/*.jpg --png attention.png

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C.
    """
    from cuecard.artifacts.nearest import nearest_words
    from cuecard.artifacts.tensors import WITH_HEADS
    from cuecard.cli.views.progress import fetch_progress
    from cuecard.cli.views.prompt import print_prompt
    from cuecard.evaluation.pictures.attention import draw_attention
    from cuecard.tasks.readers.tables import record_place

    near: list[NearestWords] | None = None
    saved = source.find()
    opened = saved.prompt
    # Keys and values are not among words' embeddings, and what stands beside patches is no word.
    in_words = opened.spec.task_kind.tower == "text"
    _check(images, png, layer, in_words=in_words)
    drawn: dict[str, Any] = {}
    with fetch_progress(json=as_json) as progress:
        if png is not None:
            rows = _rows(saved, images or (), limit, progress)
            bound = source.open(saved, progress)
            shown = [(row.images[0], _name(row)) for row in rows]
            with writing("--png"):
                number = draw_attention(bound.backbone, bound.injection, shown, png, layer=layer)
            files = [record_place(row) for row in rows]
            drawn["attention"] = {"file": str(png), "layer": number, "images": files}
        if not no_words and in_words and opened.manifest.injection not in (*WITH_HEADS, "none"):
            bound = source.open(saved, progress)
            near = nearest_words(opened.vectors, bound.backbone, words)
    if as_json:
        print_json(_facts(opened, near) | {"folder": saved.folder} | drawn)
        return
    print_prompt(opened, near, saved.folder, console())
    if drawn:
        typer.echo(f"attention of layer {number} over {counted(len(rows), 'image')} in {png}")


def _check(
    images: list[str] | None, png: Path | None, layer: int | None, *, in_words: bool
) -> None:
    """Refuse what does not go together, before anything is loaded."""
    check_place(png, "--png")
    if png is None and (images or layer is not None):
        raise ConfigError(
            "attention is drawn into a file, and there is none",
            where="cuecard inspect",
            got=f"the image {images[0]}" if images else f"--layer {layer}",
            expected="--png with a file's name",
        )
    if png is not None and in_words:
        raise ConfigError(
            "only a prompt for images has attention to draw over them",
            where="--png",
            got="a prompt for texts",
        )


def _rows(
    saved: SavedPrompt, images: Sequence[str], limit: int, progress: Progress | None
) -> list[Record]:
    """The images that are named, or some of the run's own test or validation rows."""
    from cuecard.cli.rows import typed_rows

    if images:
        return typed_rows(saved.spec, saved.spec.task_kind.inputs(images)[:limit], {})
    if saved.recipe is None:
        raise ConfigError(
            "a prompt outside of its run has no images of its own",
            where=str(saved.folder),
            got="no image",
            expected="image files, folders or patterns",
        )
    task = saved.recipe.read_task(progress)
    return [*(task.test or task.validation)][:limit]


def _name(record: Record) -> str:
    """An image's file; its row where a file holds many."""
    from cuecard.images import SUFFIXES

    path = Path(record.source)
    return path.name if path.suffix.lower() in SUFFIXES else f"row {record.row}"


def _facts(prompt: Prompt, near: list[NearestWords] | None) -> dict[str, Any]:
    manifest = prompt.manifest.model_dump(mode="json", exclude={"test_vectors"})
    vectors, width = prompt.vectors.shape
    return {
        "digest": prompt.digest,
        "bytes": prompt.nbytes,
        "vectors": vectors,
        "width": width,
        **manifest,
        "nearest": near,
    }
