"""`cuecard inspect`: what a prompt is, where it comes from, and which words it is near to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cuecard.cli.sources import PromptSource
from cuecard.cli.views.console import Json, console, print_json

if TYPE_CHECKING:
    from cuecard.artifacts import Prompt
    from cuecard.artifacts.nearest import NearestWords


def inspect(
    source: PromptSource,
    words: Annotated[
        int, typer.Option(min=1, max=50, help="How many nearest words to name per vector.")
    ] = 3,
    no_words: Annotated[
        bool, typer.Option("--no-words", help="Leave the words out; no backbone is loaded.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a prompt's size, task, provenance and metrics, and the words nearest to its vectors.

    With the words the backbone is loaded, and the prompt is checked against it.

    Example: cuecard inspect runs/reviews --no-words

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C.
    """
    from cuecard.artifacts.nearest import nearest_words
    from cuecard.artifacts.tensors import WITH_HEADS
    from cuecard.cli.views.progress import fetch_progress
    from cuecard.cli.views.prompt import print_prompt

    near: list[NearestWords] | None = None
    saved = source.find()
    opened = saved.prompt
    # Keys and values are not among words' embeddings, and what stands beside patches is no word.
    in_words = opened.spec.task_kind.tower == "text"
    if not no_words and in_words and opened.manifest.injection not in (*WITH_HEADS, "none"):
        with fetch_progress(json=as_json) as progress:
            bound = source.open(saved, progress)
        near = nearest_words(opened.vectors, bound.backbone, words)
    if as_json:
        print_json(_facts(opened, near) | {"folder": saved.folder})
    else:
        print_prompt(opened, near, saved.folder, console())


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
