"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from cuecard.errors import ConfigError

TextField = Annotated[
    str | None,
    typer.Option(
        "--text-field", metavar="COLUMN", help="Column of the text.  [text]", show_default=False
    ),
]
LabelField = Annotated[
    str | None,
    typer.Option(
        "--label-field",
        metavar="COLUMN",
        help="Column of the label.  [the one it was trained with]",
        show_default=False,
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME",
        help="The part of a saved or hub data set to read.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Read only the first N rows.", show_default=False),
]
ShardOf = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="INDEX/COUNT",
        help="Answer this share of the rows alone, such as 0/4, the first quarter.",
        show_default=False,
    ),
]
BatchRows = Annotated[int, typer.Option("--batch-rows", min=1, help="Rows per forward pass.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what is there.", show_default=False)
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what it would take at most, and ask nothing.")
]
RESUME = typer.Option("--resume", metavar="FOLDER", help="Resume the run in this folder.")


def is_given(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line, also with its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """NAME=VALUE texts as a mapping.

    Raises:
        ConfigError: a text without a name or an equals sign, or a name given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError("not of the form NAME=VALUE", where=option, got=text)
        if name in found:
            raise ConfigError("a name given twice", where=option, got=name, expected="each once")
        found[name] = value
    return found


def listed(text: str | None) -> tuple[str, ...]:
    """A comma-separated text as its parts."""
    return () if text is None else tuple(part.strip() for part in text.split(","))


def unescaped(text: str) -> str:
    r"""A template as typed in a shell: the two characters \n are a line break."""
    return text.replace("\\n", "\n")
