"""`cuecard promote`: point an alias at a version, if the version passes."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from cuecard.cli.options import BatchRows, LabelField, TextField, is_given, pairs
from cuecard.cli.registry_options import (
    DEFAULT_REGISTRY,
    AliasName,
    RegistryPlace,
    Trust,
    VersionReference,
    Why,
)
from cuecard.cli.sources import BackboneSource
from cuecard.cli.views.console import Json, print_json
from cuecard.errors import ConfigError
from cuecard.metrics.margin import MARGIN

# Options that say how the rows of --not-worse-on are read and compared.
_OF_ROWS = ("margin", "text_field", "label_field", "batch_rows")


def promote(
    context: typer.Context,
    version: VersionReference,
    alias: AliasName,
    source: BackboneSource,
    minimum: Annotated[
        list[str] | None,
        typer.Option(
            "--min",
            metavar="METRIC=VALUE",
            help="Minimum score, on the rows of --not-worse-on, else on the test rows of its "
            "training run; may be repeated.",
            show_default=False,
        ),
    ] = None,
    not_worse_on: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Labelled rows on which the version must be no worse than the one in use.",
            show_default=False,
        ),
    ] = None,
    margin: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Largest loss of score allowed, as the upper end of its 95% interval.",
        ),
    ] = MARGIN,
    text_field: TextField = None,
    label_field: LabelField = None,
    why: Why = "",
    trust: Trust = None,
    registry: RegistryPlace = DEFAULT_REGISTRY,
    batch_rows: BatchRows = 32,
    as_json: Json = False,
) -> None:
    """Point an alias at a version, in one recorded step, if promotion checks pass.

    Example: cuecard promote reviews@3 production --min accuracy=0.85 --not-worse-on held-back.csv

    Exit codes: 0 done, 2 bad input or a check that does not pass, 130 stopped by Ctrl-C.
    """
    from cuecard.cli.commands.publish.show import event_facts
    from cuecard.cli.rows import known_rows, labelled_rows
    from cuecard.cli.views.progress import fetch_progress
    from cuecard.names import data_source
    from cuecard.registry import EvaluationSetup, PromotionChecks, Registry, read_trusted
    from cuecard.registry.signing import check_signed

    given = [name for name in _OF_ROWS if is_given(context, name)]
    if given and not_worse_on is None:
        raise ConfigError(
            "there are no rows for this option",
            where=f"--{given[0].replace('_', '-')}",
            expected="--not-worse-on with labelled rows beside it",
        )
    opened = Registry(registry)
    trusted = read_trusted(trust or ())
    # Resolved once: what is checked here is what is promoted below, whatever is pushed meanwhile.
    target = opened.resolve(version)
    if trusted:
        check_signed(opened.store, target, trusted)
    with fetch_progress(json=as_json) as progress:
        setup = None
        if not_worse_on is not None:
            rows = data_source(not_worse_on, progress)
            setup = EvaluationSetup(
                rows=lambda spec: known_rows(
                    spec,
                    labelled_rows(
                        spec,
                        rows,
                        text_field=text_field,
                        label_field=label_field,
                        split=None,
                        limit=None,
                    ),
                )[0],
                backbone=lambda prompt: source.load_for(prompt, None, progress),
                margin=margin,
                trusted=trusted,
                batch_rows=batch_rows,
            )
        checks = PromotionChecks(opened, _least(minimum or []), setup)
        event = opened.promote(target, alias, why=why, check=checks)
    if as_json:
        print_json(event_facts(event))
    else:
        came = "" if event.before is None else f", previously {event.name}@{event.before}"
        typer.echo(f"{event.name}@{alias} -> {event.name}@{event.after}{came}")


def _least(texts: list[str]) -> dict[str, float]:
    found = {}
    for metric, text in pairs(texts, "--min").items():
        try:
            found[metric] = float(text)
        except ValueError:
            found[metric] = math.nan
        if not math.isfinite(found[metric]):
            raise ConfigError("not a number", where="--min", got=text, expected="such as 0.85")
    return found
