"""Options of the commands that work on a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cuecard.cli.completion import completer, version_names
from cuecard.registry.default_place import DEFAULT_REGISTRY as DEFAULT_REGISTRY
from cuecard.registry.default_place import VARIABLE

RegistryPlace = Annotated[
    str,
    typer.Option(
        "--registry",
        metavar="PLACE",
        envvar=VARIABLE,
        help="The registry: a folder, or a URL such as s3://bucket/prompts.",
    ),
]
Why = Annotated[
    str,
    typer.Option("--why", metavar="TEXT", help="A reason, kept in the record.", show_default=False),
]
Trust = Annotated[
    list[Path] | None,
    typer.Option(
        "--trust",
        metavar="FILE",
        help="Public Ed25519 key (PEM). The version must be signed by one of these keys; may be "
        "repeated.",
        show_default=False,
    ),
]
VersionReference = Annotated[
    str,
    typer.Argument(
        metavar="VERSION",
        help="NAME@NUMBER, NAME@ALIAS or NAME@latest.",
        show_default=False,
        autocompletion=completer(version_names),
    ),
]
AliasName = Annotated[
    str, typer.Argument(metavar="ALIAS", help="Such as production.", show_default=False)
]
