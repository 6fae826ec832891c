"""`cuecard push`: a prompt into a registry, or into the Hub's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cuecard.cli.options import Overwrite
from cuecard.cli.registry_options import Why
from cuecard.cli.sources import SavedSource
from cuecard.cli.views.console import Json, print_json
from cuecard.errors import ConfigError


def push(
    source: SavedSource,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A name in the registry; or hf://OWNER/NAME; or a folder (with a slash in it, "
            "such as ./reviews) to be laid out as a repository of the Hub.",
            show_default=False,
        ),
    ],
    why: Why = "",
    sign_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Sign the version with this private Ed25519 key (PEM).",
            show_default=False,
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see a new repository on the Hub.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Publish a prompt as the next version of a name. The same content keeps its version.

    Example: cuecard push runs/reviews reviews --why "more rows"

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.registry import (
        PromptPackage,
        Registry,
        Signer,
        parse_hub,
        push_to_hub,
        write_hub_folder,
    )
    from cuecard.registry.hub import SCHEME

    facts: dict[str, object]
    package = PromptPackage.read(source.find().folder)
    if sign_key is not None and "/" in target:
        raise ConfigError(
            "only versions in a registry are signed",
            where="--sign-key",
            got=target,
            expected="a name in the registry",
        )
    if target.startswith(SCHEME):
        place = parse_hub(target)
        commit = push_to_hub(package, place, why=why, private=not public)
        facts = {"repository": place.repository, "commit": commit, "digest": package.prompt.digest}
        text = f"{SCHEME}{place.repository}@{commit}"
    elif "/" in target:
        folder = write_hub_folder(package, target, overwrite=overwrite)
        facts = {"folder": str(folder), "digest": package.prompt.digest}
        text = f"{folder}"
    else:
        signer = None if sign_key is None else Signer(sign_key)
        done = Registry(source.registry).push(package, target, why=why, signer=signer)
        version = done.version
        facts = {
            "version": str(version),
            "new": done.new,
            "digest": version.record.digest,
            "sha256": version.sha256,
            "registry": source.registry,
        }
        text = f"{version}  {'new' if done.new else 'there already'}  {source.registry}"
    if as_json:
        print_json(facts)
    else:
        typer.echo(text)
