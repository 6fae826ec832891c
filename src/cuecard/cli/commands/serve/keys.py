"""`cuecard keys`: the API keys of a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cuecard.cli.views.console import Json, print_json
from cuecard.errors import ConfigError

_LIMITS = (
    "requests_per_minute",
    "tokens_per_minute",
    "tokens_per_day",
    "concurrent_requests",
)
_LIMIT = Annotated[int | None, typer.Option(min=1, show_default=False)]


def keys(
    action: Annotated[
        Literal["add", "list", "revoke"],
        typer.Argument(metavar="ACTION", help="add, list or revoke.", show_default=False),
    ],
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The name of the key.", show_default=False),
    ] = None,
    file: Annotated[
        Path,
        typer.Option("--keys", metavar="FILE", envvar="CUECARD_KEYS", help="The key file."),
    ] = Path("keys.json"),
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="A prompt it may use: NAME, NAME@ALIAS or NAME@NUMBER; may be repeated. By "
            "default all; with --raw none.",
            show_default=False,
        ),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Allow the backbone itself, and prompts without their templates (`raw`).",
        ),
    ] = False,
    requests_per_minute: _LIMIT = None,
    tokens_per_minute: _LIMIT = None,
    tokens_per_day: _LIMIT = None,
    concurrent_requests: _LIMIT = None,
    as_json: Json = False,
) -> None:
    """Add, list or revoke API keys; a running server picks up the change at once.

    A new key is printed once; the file only has its hash.

    Example: cuecard keys add shop --prompt reviews@production --requests-per-minute 600

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.serving.http.auth import add_key, revoke_key

    if (action == "list") is not (name is None):
        raise ConfigError(
            "the name of the key is missing" if name is None else "`keys list` takes no name",
            where=f"keys {action}",
            got=name,
            expected="keys add NAME, keys list, or keys revoke NAME",
        )
    if action == "list" or name is None:
        _list(file, as_json)
    elif action == "add":
        secret = add_key(
            file,
            name,
            prompts=prompt or (),
            raw=raw,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            tokens_per_day=tokens_per_day,
            concurrent_requests=concurrent_requests,
        )
        if as_json:
            print_json({"name": name, "key": secret})
        else:
            typer.echo(secret)
    else:
        revoke_key(file, name)
        if as_json:
            print_json({"name": name, "revoked": True})
        else:
            typer.echo(f"{name} revoked")


def _list(file: Path, as_json: bool) -> None:
    from cuecard.serving.http.auth import read_keys

    found = [key.model_dump(exclude={"sha256"}) for key in read_keys(file)]
    if as_json:
        print_json({"keys": found})
        return
    for key in found:
        limits = ", ".join(
            f"{key[limit]:,} {limit.replace('_', ' ')}"
            for limit in _LIMITS
            if key[limit] is not None
        )
        scope = ", ".join([*key["prompts"], *(["raw"] if key["raw"] else [])])
        typer.echo(f"{key['id']}\t{scope}\t{limits or 'no limits'}\t{key['created']}")
