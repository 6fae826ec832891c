"""`cuecard methods`: what can be trained, its settings, and where it works."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_table, say_line

if TYPE_CHECKING:
    from cuecard.training.trainables.capabilities import Capability
    from cuecard.types import Backbone


def methods(
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Also say how many parameters each method trains on this backbone, for a task "
            "with two labels and the method's default settings.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the methods: what each trains, where it works, its settings and their defaults.

    `cuecard train --method NAME --set method.SETTING=VALUE` uses them. (--lr) marks the setting
    that --lr takes the place of.

    Example: cuecard methods --backbone smollm2-135m-instruct

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.cli.views.progress import fetch_progress
    from cuecard.names import load_backbone
    from cuecard.parameter_counts import trained_text
    from cuecard.training.trainables.capabilities import capabilities, cells, headings

    rows = capabilities()
    counts: dict[str, tuple[int, int]] = {}
    if backbone is not None:
        with fetch_progress(json=as_json) as progress:
            model = load_backbone(backbone, progress=progress)
        counts = _counts(model, [row.method for row in rows])
    if as_json:
        print_json({"methods": [asdict(row) | _numbers(counts, row.method) for row in rows]})
        return
    print_table(console(), headings(), [*map(cells, rows)], left=headings())
    say_line(console(), "settings:")
    for row in rows:
        say_line(console(), f"{row.method}: {' '.join(_settings(row))}")
    for row in rows:
        if row.method in counts:
            say_line(console(), f"{row.method}: {trained_text(*counts[row.method])}")


def _settings(row: Capability) -> Iterator[str]:
    """Each setting with its default."""
    for name, value in row.settings.items():
        yield f"{name}={json.dumps(value)}{' (--lr)' if name == row.rate else ''}"


def _counts(backbone: Backbone, methods: Sequence[str]) -> dict[str, tuple[int, int]]:
    """method -> how many parameters it trains and how many there are; without those it refuses."""
    from cuecard.errors import ConfigError
    from cuecard.methods import METHODS
    from cuecard.tasks import TaskSpec
    from cuecard.training.run import count_parameters
    from cuecard.training.trainables.capabilities import check_supported
    from cuecard.training.trainables.initial_method import init_context, suited_to
    from cuecard.types import Record

    kind, template = "classification", "{text}\nLabel:"
    if "text" not in backbone.takes:
        kind, template = "image-classification", "{image}"
    spec = TaskSpec(kind=kind, template=template, labels=("no", "yes"))
    rows = [Record(dict.fromkeys(spec.record_fields, spec.task_kind.probe("any")), "no")] * 3
    found = {}
    for name in methods:
        with suppress(ConfigError):
            settings = suited_to(backbone, METHODS[name]())
            check_supported(backbone, settings)
            counts = count_parameters(
                backbone, settings.build(init_context(backbone, spec, 0, rows))
            )
            found[name] = counts["trained_parameters"], counts["parameters"]
    return found


def _numbers(counts: Mapping[str, tuple[int, int]], method: str) -> dict[str, int]:
    if method not in counts:
        return {}
    return dict(zip(("trained_parameters", "parameters"), counts[method], strict=True))
