"""An evaluation as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from cuecard.cli.views.tables import fits, print_table, say
from cuecard.evaluation import Evaluation
from cuecard.evaluation.metric_tables import (
    LABEL_COLUMNS,
    METRIC_COLUMNS,
    label_rows,
    metric_name,
    metric_rows,
)
from cuecard.validation_text import counted

_WIDEST = 12  # labels in a confusion matrix; of more, the commonest confusions are listed


def print_evaluation(found: Evaluation, labels: Sequence[str], out: Console) -> None:
    """Print the metrics with their intervals, a table by label, and the confusions if any."""
    rows, bold = metric_rows(found)
    print_table(out, METRIC_COLUMNS, rows, bold=bold)
    if "per_class" in found.metrics:
        out.print()
        print_table(out, LABEL_COLUMNS, label_rows(found.metrics["per_class"]))
    if "confusion" in found.metrics:
        out.print()
        _print_confusion(found.metrics["confusion"], labels, out)
    say(
        out,
        f"\n{counted(len(found.records), 'row')} in {found.seconds:.1f} s, "
        f"{counted(found.tokens_per_request, 'prompt token')} per request",
    )


def in_words(found: Evaluation, row: str = "row") -> str:
    """The first metric with its interval and rows, in a line."""
    name, interval = metric_name(found.primary), found.ci95.get(found.primary)
    shown = "" if interval is None else f" (95% interval {interval.low:.3f} - {interval.high:.3f})"
    return f"{name} {found.score:.3f}{shown} on {counted(len(found.records), row)}"


def _print_confusion(
    confusion: Sequence[Sequence[int]], labels: Sequence[str], out: Console
) -> None:
    """The matrix where there is room for it, else the commonest confusions."""
    columns = ("true label, answers:", *labels)
    rows = [
        (label, *(f"{count:,}" for count in counts))
        for label, counts in zip(labels, confusion, strict=True)
    ]
    if len(labels) <= _WIDEST and fits(columns, rows, out):
        print_table(out, columns, rows)
        return
    wrong = [
        (count, truth, answer)
        for truth, counts in zip(labels, confusion, strict=True)
        for answer, count in zip(labels, counts, strict=True)
        if truth != answer and count
    ]
    worst = sorted(wrong, key=lambda one: -one[0])[:_WIDEST]
    print_table(
        out,
        ("true label", "answer", "rows"),
        [(truth, answer, f"{count:,}") for count, truth, answer in worst],
        left=("answer",),
        title="commonest confusions",
    )
