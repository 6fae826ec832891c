"""`cuecard board`: runs, cases and registries in a browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cuecard.board.settings import BoardSettings
from cuecard.cli.recipe_flags import TRAIN
from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace
from cuecard.cli.views.console import Json, print_json
from cuecard.errors import ConfigError
from cuecard.validation_text import counted

SERVER_KEY = "CUECARD_SERVER_KEY"
"""The environment variable with a key for the server: a command line is for others to see."""


def board(
    runs: Annotated[
        Path,
        typer.Argument(
            metavar="RUNS", help="The folder of the runs; it need not exist yet.  [runs]"
        ),
    ] = Path("runs"),
    registry: RegistryPlace = DEFAULT_REGISTRY,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help=f"A running server to try prompts on; {SERVER_KEY} holds a key for it.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; any but loopback requires --keys."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one.")
    ] = 8100,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="CUECARD_KEYS",
            help="File of API keys (`cuecard keys add`); one that may use every model lets in.",
            show_default=False,
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write the runs, their answers and the registry as files, and serve nothing.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show runs, their answers and registries in a browser; runs are watched live.

    Example: cuecard board runs --registry prompts --server http://127.0.0.1:8000

    Exit codes: 0 ended by SIGTERM or Ctrl-C, 2 bad input.
    """
    try:
        from cuecard.board.export import export_board
        from cuecard.board.server import serve_board
    except ImportError as error:
        raise ConfigError(
            "the packages of the board are not installed",
            got=error.name,
            hint="pip install 'cuecard[board]'",
        ) from error
    secret = os.environ.get(SERVER_KEY)
    settings = BoardSettings(runs, registry, server, secret, host, port, keys, TRAIN.names)
    if export is None:
        serve_board(settings, lambda url: print_json({"url": url}) if as_json else typer.echo(url))
        return
    pages = export_board(settings, export)
    if as_json:
        print_json({"folder": str(export), "pages": pages})
    else:
        typer.echo(f"{counted(pages, 'page')} in {export}")
