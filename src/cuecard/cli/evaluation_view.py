"""An evaluation as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cuecard.evaluation import Evaluation

_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "ece": "calibration error",
    "exact_match": "exact match",
    "token_f1": "token F1",
    "rouge_l": "ROUGE-L",
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
    out.print(_metrics(found))
    if "per_class" in found.metrics:
        out.print()
        out.print(_per_class(found.metrics["per_class"]))
    if "confusion" in found.metrics:
        out.print()
        confusion = found.metrics["confusion"]
        out.print(
            _matrix(confusion, labels) if len(labels) <= _WIDEST else _worst(confusion, labels)
        )
    out.print(
        f"\n{len(found.records):,} rows in {found.seconds:.1f} s, "
        f"{found.tokens_per_request} prompt tokens per request",
        markup=False,
    )


def _metrics(found: Evaluation) -> Table:
    table = _table("metric", "value", "95% interval")
    for key, name in _NAMES.items():
        value = found.metrics.get(key)
        if value is None:
            continue
        interval = found.ci95.get(key)
        shown = "-" if interval is None else f"{interval.low:.3f} - {interval.high:.3f}"
        style = "bold" if key == found.primary else None
        table.add_row(name, f"{value:.3f}", shown, style=style)
    return table


def _per_class(per_class: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("label", "precision", "recall", "F1", "rows")
    for label, row in per_class.items():
        shares = [f"{row[name]:.3f}" for name in ("precision", "recall", "f1")]
        table.add_row(escape(label), *shares, f"{row['support']:,}")
    return table


def _matrix(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> Table:
    table = _table("true label, answers:", *(escape(label) for label in labels))
    for place, (label, counts) in enumerate(zip(labels, confusion, strict=True)):
        cells = [f"[bold]{n:,}[/]" if i == place else f"{n:,}" for i, n in enumerate(counts)]
        table.add_row(escape(label), *cells)
    return table


def _worst(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> Table:
    wrong = [
        (count, truth, answer)
        for truth, counts in zip(labels, confusion, strict=True)
        for answer, count in zip(labels, counts, strict=True)
        if truth != answer and count
    ]
    table = _table("commonest confusions: true label", "answer", "rows")
    for count, truth, answer in sorted(wrong, key=lambda one: -one[0])[:_WIDEST]:
        table.add_row(escape(truth), escape(answer), f"{count:,}")
    return table


def _table(first: str, *others: str) -> Table:
    table = Table()
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", overflow="fold")
    return table
