"""`cuecard pull`: a version, or a prompt from the Hub's layout, as a prompt folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cuecard.cli.completion import completer, version_names
from cuecard.cli.options import Overwrite
from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace, Trust
from cuecard.cli.views.console import Json, print_json
from cuecard.errors import ConfigError


def pull(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="NAME@NUMBER, NAME@ALIAS or NAME@latest; hf://OWNER/NAME@COMMIT; or a folder "
            "(with a slash in it) in the Hub's layout.",
            show_default=False,
            autocompletion=completer(version_names),
        ),
    ],
    dest: Annotated[
        Path, typer.Argument(metavar="DEST", help="The folder to write.", show_default=False)
    ],
    trust: Trust = None,
    overwrite: Overwrite = False,
    registry: RegistryPlace = DEFAULT_REGISTRY,
    as_json: Json = False,
) -> None:
    """Write a version's prompt folder, every byte verified, whole or not at all.

    Example: cuecard pull reviews@production reviews --trust release.pub.pem

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.registry import Registry, parse_hub, pull_from_hub, read_hub_folder, read_trusted
    from cuecard.registry.hub import SCHEME

    if trust and "/" in source:
        raise ConfigError(
            "only versions in a registry are signed",
            where="--trust",
            got=source,
            expected="a version in the registry",
        )
    facts: dict[str, object]
    if source.startswith(SCHEME):
        place = parse_hub(source)
        package, commit = pull_from_hub(place)
        facts = {"repository": place.repository, "commit": commit}
        text = f"{SCHEME}{place.repository}@{commit}"
    elif "/" in source:
        folder, _, revision = source.partition("@")
        whole = Path(source).exists()
        package = read_hub_folder(source if whole else folder, None if whole else revision or None)
        facts, text = {"source": source}, source
    else:
        opened = Registry(registry)
        version = opened.resolve(source)
        package = opened.read(version, read_trusted(trust or ()))
        facts = {"version": str(version), "sha256": version.sha256}
        text = str(version)
    path = package.write(dest, overwrite=overwrite)
    if as_json:
        print_json({**facts, "digest": package.prompt.digest, "folder": path})
    else:
        typer.echo(f"{path}  ({text})")
