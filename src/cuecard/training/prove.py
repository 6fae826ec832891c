"""What a prompt buys: beside simple baselines and the best prompts written by hand.

Everything is chosen on validation rows; what is chosen answers the test rows once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cuecard.errors import ConfigError, DataError
from cuecard.evaluation.figures import confusion_figure, loss_figure
from cuecard.evaluation.manual import ManualPrompt
from cuecard.evaluation.report import COLUMNS, write_json, write_markdown
from cuecard.tasks import Task
from cuecard.training.comparison import Comparison, Proof, test_tokens
from cuecard.training.log import Observer, read_log
from cuecard.training.prove_by_hand import compare_by_hand
from cuecard.training.prove_plain import (
    compare_bare,
    compare_constant,
    compare_start,
    compare_text_models,
)
from cuecard.training.train import Run
from cuecard.training.watched import watched
from cuecard.types import Backbone

__all__ = ["Proof", "prove", "write_proof"]

# Kinds that prompts written by hand can answer, and what the report compares. Texts that say the
# same in other words would all count as wrong by `PRIMARY`, the exact match.
_BY_HAND = {"classification": "accuracy", "text-to-text": "rouge_l"}


@watched
def prove(
    backbone: Backbone,
    task: Task,
    run: Run,
    *,
    manual: Sequence[ManualPrompt] | None = None,
    demonstrations: Sequence[int] | None = None,
    selection_rows: int | None = None,
    encoder: Backbone | None = None,
    observer: Observer | None = None,
    progress: bool = True,
) -> Proof:
    """Compare a run's prompt with simple baselines and the best hand-written prompts.

    What is optional and cannot be compared is left out with a note. As many hand-written prompts
    are tried as the training's own tokens pay for.

    Args:
        manual: zero-shot candidates; made from the task by default.
        demonstrations: how many solved training rows the in-context candidates show; several
            numbers suited to the task by default. None of them, `()`, leaves the in-context
            comparison out.
        selection_rows: how many validation rows the hand-written prompts are chosen on at most;
            256 by default, for texts 48.
        encoder: what makes the sentence vectors that a linear model reads; the backbone itself by
            default.
        observer: called with an event per candidate and per test.
        progress: without an observer, show a bar in a terminal or a notebook.

    Raises:
        DataError: the task has no test rows.
        ConfigError: a task that is not asked in words; see `prove_retrieval`.
    """
    kind = task.spec.kind
    if kind == "embedding":
        raise ConfigError(
            "no prompt written by hand makes vectors",
            where="kind",
            got=kind,
            expected="classification or text-to-text",
        )
    if run.test is None:
        raise DataError("there are no test rows to prove anything on", expected="a test split")
    metric = metric_of(task, run)
    comparison = Comparison(backbone, task, run, metric, observer or (lambda event: None))
    compare_constant(comparison)
    spoken = not task.spec.headed
    # What the hand-written prompt, the most asked for of all, needs for its test.
    reserved = test_tokens(comparison, task) if spoken else 0
    if spoken and kind != "text-to-text":
        compare_start(comparison, reserved)
    compare_text_models(comparison, encoder, reserved)
    if kind in _BY_HAND:
        with comparison.optional("prompts written by hand"):
            compare_by_hand(comparison, manual, demonstrations, selection_rows)
    elif spoken:
        compare_bare(comparison)
    if kind == "text-to-text":  # many passes: if they are left
        compare_start(comparison, 0)
    return comparison.proof(COLUMNS[kind])


def metric_of(task: Task, run: Run) -> str:
    """What a run is compared by."""
    assert run.test is not None
    return _BY_HAND.get(task.spec.kind, run.test.primary)


def write_proof(proof: Proof, task: Task, run: Run, folder: Path, title: str) -> None:
    """Leave `report.json`, `report.md`, `predictions.jsonl` and the figures in a run's folder.

    Args:
        title: what the report's title calls the data.
    """
    figures = {"Loss and validation score over steps": "figures/training.png"}
    loss_figure(read_log(folder), folder / "figures" / "training.png")
    if task.spec.kind == "classification" and run.test is not None:
        figures["Confusion matrix on the test rows"] = "figures/confusion.png"
        confusion_figure(
            run.test.metrics["confusion"], task.spec.labels, folder / "figures" / "confusion.png"
        )
    if run.test is not None:
        run.test.save_predictions(folder / "predictions.jsonl")
    write_json(proof.report, folder / "report.json")
    write_markdown(
        folder / "report.md",
        title=f"{title}: {run.prompt.manifest.method} on {proof.report['backbone']}",
        rows=proof.rows,
        columns=proof.columns,
        notes=proof.notes,
        figures=figures,
    )
