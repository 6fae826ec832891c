"""A recipe as `cuecard train` reads it from a command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cuecard.cli.fields import expanded
from cuecard.cli.recipe_flags import TRAIN, Given
from cuecard.runs.recipe import Recipe


def recipe_of(words: Sequence[str]) -> Recipe:
    """The recipe of a command line, without the command's name."""
    found: list[Recipe] = []

    def train(given: Annotated[Given, TRAIN]) -> None:
        found.append(given.recipe("cuecard train", unnamed=None))

    # `expanded` looks annotations up where the function was written.
    train.__annotations__ = {"given": Annotated[Given, TRAIN], "return": None}
    app: Any = typer.Typer()
    app.command()(expanded(train))
    app(list(words), standalone_mode=False)
    return found[0]
