"""An evaluation as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from cuecard.cli.views.tables import fits, print_table, say
from cuecard.evaluation import Evaluation
from cuecard.validation_text import counted

_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "ece": "calibration error",
    "exact_match": "exact match",
    "token_f1": "token F1",
    "rouge_l": "ROUGE-L, not stemmed",
    "recall@1": "recall@1",
    "recall@5": "recall@5",
    "recall@10": "recall@10",
    "mrr@10": "MRR@10",
    "micro_f1": "micro-F1",
    "span_f1": "span F1",
    "precision": "precision",
    "recall": "recall",
    "word_accuracy": "word accuracy",
    "sentence_accuracy": "whole sentences",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R2",
    "pearson": "Pearson",
    "spearman": "Spearman",
}
_WIDEST = 12  # labels in a confusion matrix; of more, the commonest confusions are listed


def print_evaluation(found: Evaluation, labels: Sequence[str], out: Console) -> None:
    """Print the metrics with their intervals, a table by label, and the confusions if any."""
    _print_metrics(found, out)
    if "per_class" in found.metrics:
        out.print()
        _print_per_class(found.metrics["per_class"], out)
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


def metric_name(key: str) -> str:
    """What people call a metric."""
    return _NAMES.get(key, key if ":" in key else key.replace("_", " "))


def _print_metrics(found: Evaluation, out: Console) -> None:
    rows: list[tuple[str, str, str]] = []
    bold: list[int] = []
    more = [key for key in found.metrics if key not in _NAMES]
    for key in [*_NAMES, *more]:
        value = found.metrics.get(key)
        if not isinstance(value, float):
            continue
        interval = found.ci95.get(key)
        shown = "-" if interval is None else f"{interval.low:.3f} - {interval.high:.3f}"
        if key == found.primary:
            bold.append(len(rows))
        rows.append((metric_name(key), f"{value:.3f}", shown))
    print_table(out, ("metric", "value", "95% interval"), rows, bold=bold)


def _print_per_class(per_class: Mapping[str, Mapping[str, Any]], out: Console) -> None:
    shares = ("precision", "recall", "f1")
    rows = [
        (label, *(f"{row[name]:.3f}" for name in shares), f"{row['support']:,}")
        for label, row in per_class.items()
    ]
    print_table(out, ("label", "precision", "recall", "F1", "rows"), rows)


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
