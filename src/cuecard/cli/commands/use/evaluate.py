"""`cuecard eval`: what a prompt is worth on labelled rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cuecard.cli.options import BatchRows, listed
from cuecard.cli.output import check_place, writing
from cuecard.cli.sources import LabelledRows, PromptSource
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import say_line
from cuecard.errors import ConfigError, DataWarning
from cuecard.types import Record

if TYPE_CHECKING:
    from cuecard.artifacts.bound_prompt import BoundPrompt
    from cuecard.evaluation import Evaluation
    from cuecard.metrics.scores import RowScores
    from cuecard.tasks import TaskSpec

Calibration = Literal["saved", "none", "batch", "content-free"]


def evaluate(
    source: PromptSource,
    rows: LabelledRows,
    no_prompt: Annotated[
        bool,
        typer.Option("--no-prompt", help="Use only the template, without the trained vectors."),
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="NAME,NAME",
            help="Other labels than those of the training, for a prompt around labels' names "
            "(coop, maple).",
            show_default=False,
        ),
    ] = None,
    calibration: Annotated[
        Calibration,
        typer.Option(
            "--calibrate",
            help="Prior to subtract from the labels' scores: the one saved with the prompt, none, "
            "the labels' mean share over these rows (without their labels), or their share on "
            "content-free inputs.",
        ),
    ] = "saved",
    score: Annotated[
        str | None,
        typer.Option(
            metavar="SCORE",
            help="One more score of generated texts: regex:PATTERN, json-schema:FILE, or your own "
            "module:function of the answer, the target and the record.",
            show_default=False,
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write every answer as JSON lines.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the report as JSON.", show_default=False),
    ] = None,
    batch_rows: BatchRows = 32,
    as_json: Json = False,
) -> None:
    """Score a prompt on labelled rows: metrics with intervals, per label, and confusions.

    Example: cuecard eval runs/tickets next-month.csv --predictions answers.jsonl

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C.
    """
    from cuecard.cli.rows import warn_of_few
    from cuecard.cli.views.evaluation import in_words, print_evaluation
    from cuecard.cli.views.progress import fetch_progress
    from cuecard.evaluation import only
    from cuecard.evaluation.evaluate import row_scores
    from cuecard.evaluation.report import write_json

    check_place(predictions, "--predictions")
    check_place(out, "--out")
    saved = source.find()
    # The rows first: a mistake in them need not wait for a model.
    spec = saved.spec
    names = listed(labels)
    if names:
        spec = _asked_for(spec, names)
    scores = row_scores(spec, score) if score else None
    records, unknown = rows.read(spec, saved.text_field, asked=bool(names), json=as_json)
    warn_of_few(len(records))
    with fetch_progress(json=as_json) as progress:
        bound = source.open(saved, progress)
    opened = bound.prompt
    if names:
        bound = bound.with_labels(names)
    if no_prompt:
        bound = bound.without_prompt
    if calibration == "saved" and bound.prior is None:
        calibration = "none"
    found = _scored(_evaluate(bound, records, calibration, batch_rows, as_json), scores)
    report: dict[str, Any] = {
        "prompt": saved.folder,
        "digest": opened.digest,
        "used_prompt": not no_prompt,
        "calibration": calibration,
        "backbone": bound.backbone.name,
        "data": rows.data,
        "metric": found.primary,
        **found.to_dict(),
    }
    if unknown:
        report["unknown_labels"] = unknown
    seen = opened.seen(records)
    unseen = None
    if seen and not no_prompt:
        warnings.warn(DataWarning(seen.sentence("the prompt")), stacklevel=1)
        report["seen_rows"] = {"trained": len(seen.trained), "selected": len(seen.selected)}
        if seen.unseen:
            unseen = only(bound.spec, found, seen.unseen)
            report["unseen"] = unseen.to_dict()
    if predictions is not None:
        with writing("--predictions"):
            found.save_predictions(predictions)
    if out is not None:
        with writing("--out"):
            write_json(report, out)
    if as_json:
        print_json(report)
    else:
        print_evaluation(found, bound.spec.labels, console())
        if unseen is not None:
            say_line(console(), f"\nwithout those rows: {in_words(unseen)}")


def _scored(found: Evaluation, scores: RowScores | None) -> Evaluation:
    from cuecard.evaluation.evaluate import scored_too

    if scores is None:
        return found
    gold = [text or "" for text in found.gold]
    values = scores(found.records, gold, [each.answer for each in found.predictions])
    return scored_too(found, scores.name, values)


def _asked_for(spec: TaskSpec, names: Sequence[str]) -> TaskSpec:
    if not spec.labels:
        raise ConfigError(
            "only a prompt that answers with labels can be asked for others",
            where="--labels",
            got=f"a prompt of kind {spec.kind}",
            expected="vectors around labels' names, as coop trains them",
        )
    return spec.with_labels(names)


def _evaluate(
    bound: BoundPrompt,
    records: list[Record],
    calibration: Calibration,
    batch_rows: int,
    as_json: bool,
) -> Evaluation:
    from cuecard.cli.views.progress import rows_progress
    from cuecard.evaluation import batch_prior, calibrate, content_free_prior, score_predictions

    spec, prior = bound.spec, bound.prior
    kind = spec.task_kind
    fitted = calibration == "saved" and kind.has_thresholds
    if calibration == "content-free" and spec.mode == "head":
        raise ConfigError(
            "a head is not calibrated on inputs without content",
            where="--calibrate",
            got=calibration,
            expected="saved, batch or none",
        )
    if calibration != "none" and not kind.single_label and not fitted:
        raise ConfigError(
            "only labels can be calibrated",
            where="--calibrate",
            got=f"{calibration} for the kind {spec.kind}",
            expected="none",
        )
    if calibration != "saved":
        prior = None
    if calibration == "content-free":
        prior = content_free_prior(bound.backbone, spec, bound.injection, slot=bound.slot)
    with rows_progress("Answering", len(records), json=as_json) as more:
        found = replace(bound, prior=prior).evaluate(records, batch_rows=batch_rows, on_rows=more)
    if calibration != "batch":
        return found
    return score_predictions(
        spec,
        records,
        calibrate(found.predictions, batch_prior(found.predictions)),
        seconds=found.seconds,
        tokens_per_request=found.tokens_per_request,
    )
