"""An evaluation's metrics as the rows of tables, for terminals and notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cuecard.evaluation.report import interval_text
from cuecard.html_tables import html_table, html_view
from cuecard.validation_text import counted

if TYPE_CHECKING:
    from cuecard.evaluation.evaluate import Evaluation

METRIC_COLUMNS = ("metric", "value", "95% interval")
LABEL_COLUMNS = ("label", "precision", "recall", "F1", "rows")
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


def metric_name(key: str) -> str:
    """What people call a metric."""
    return _NAMES.get(key, key if ":" in key else key.replace("_", " "))


def metric_rows(found: Evaluation) -> tuple[list[tuple[str, str, str]], list[int]]:
    """A row for each metric that is one number, and the number of the one that counts."""
    rows: list[tuple[str, str, str]] = []
    bold: list[int] = []
    more = [key for key in found.metrics if key not in _NAMES]
    for key in [*_NAMES, *more]:
        value = found.metrics.get(key)
        if not isinstance(value, float):
            continue
        interval = found.ci95.get(key)
        shown = "-" if interval is None else interval_text(interval)
        if key == found.primary:
            bold.append(len(rows))
        rows.append((metric_name(key), f"{value:.3f}", shown))
    return rows, bold


def label_rows(per_class: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A row for each label."""
    shares = ("precision", "recall", "f1")
    return [
        (label, *(f"{row[name]:.3f}" for name in shares), f"{row['support']:,}")
        for label, row in per_class.items()
    ]


def evaluation_html(found: Evaluation) -> str:
    """An evaluation as a notebook shows it."""
    rows, bold = metric_rows(found)
    parts = [html_table(METRIC_COLUMNS, rows, bold=bold)]
    if per_class := found.metrics.get("per_class"):
        parts.append(html_table(LABEL_COLUMNS, label_rows(per_class)))
    title = (
        f"{metric_name(found.primary)} {found.score:.3f} on {counted(len(found.records), 'row')}"
    )
    return html_view(title, *parts)
