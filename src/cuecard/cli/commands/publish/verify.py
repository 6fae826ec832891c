"""`cuecard verify`: verify everything in a registry and report problems."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace, Trust
from cuecard.cli.views.console import Json, print_json
from cuecard.validation_text import counted


def verify(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="One prompt.  [all, and unused blobs]", show_default=False
        ),
    ] = None,
    trust: Trust = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="SHA256",
            help="The journal's head as an earlier `verify` printed it; it must still be there.",
            show_default=False,
        ),
    ] = None,
    registry: RegistryPlace = DEFAULT_REGISTRY,
    as_json: Json = False,
) -> None:
    """Verify every version, file, alias and signature in a registry, and its journal.

    Example: cuecard verify --registry s3://bucket/prompts --trust release.pub.pem

    Exit codes: 0 all is well, 2 bad input or something is wrong.
    """
    from cuecard.registry import Registry, read_trusted
    from cuecard.registry.verify import verify as run_verify

    report = run_verify(Registry(registry), name, read_trusted(trust or ()), head)
    if as_json:
        counts = {
            field.name: getattr(report, field.name)
            for field in dataclasses.fields(report)
            if field.name != "problems"
        }
        print_json({**counts, "problems": [problem.to_dict() for problem in report.problems]})
    else:
        typer.echo(
            f"{counted(report.prompts, 'prompt')}, {counted(report.versions, 'version')}, "
            f"{report.aliases:,} alias{'' if report.aliases == 1 else 'es'} with "
            f"{counted(report.events, 'move')}, {counted(report.signatures, 'signature')}, "
            f"{counted(report.blobs, 'blob')} ({counted(report.bytes, 'byte')}), "
            f"{report.unused:,} unused"
        )
        if report.head is not None:
            typer.echo(f"journal: {report.writes} writes, head {report.head}")
        for problem in report.problems:
            typer.echo(f"wrong: {problem}", err=True)
    if report.problems:
        raise typer.Exit(2)
