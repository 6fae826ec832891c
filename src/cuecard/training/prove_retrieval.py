"""What a prompt buys an encoder: beside the encoder without it, on the same test rows."""

from __future__ import annotations

from cuecard.errors import DataError
from cuecard.evaluation.advice import few_rows
from cuecard.evaluation.evaluate import Evaluation, evaluate, gain
from cuecard.evaluation.report import RETRIEVAL_COLUMNS, Row, paired
from cuecard.tasks import Task
from cuecard.training.log import Observer
from cuecard.training.prove import Proof
from cuecard.training.run_facts import numbers, run_facts
from cuecard.training.train import Run
from cuecard.types import Backbone


def prove_retrieval(
    backbone: Backbone, task: Task, run: Run, *, observer: Observer | None = None
) -> Proof:
    """Compare a run's prompt with the encoder as it is.

    Args:
        observer: called with an event per test.

    Raises:
        DataError: the task has no test rows.
    """
    if run.test is None:
        raise DataError("there are no test rows to prove anything on", expected="a test split")
    if observer is not None:
        observer({"event": "baseline", "name": "no prompt", "variant": "plain"})
    before = evaluate(backbone, task.spec, task.test)
    found = gain(run.test, before)
    note = (
        f"Gain in {found.metric} over no prompt: {found.value:+.3f}, {paired(found.ci95)}, "
        f"among {len(task.test):,} test rows."
    )
    few = [f"{few_rows(len(task.test)).capitalize()}."] if few_rows(len(task.test)) else []
    method = run.prompt.manifest.method
    report = run_facts(backbone, task, run) | {
        "metric": found.metric,
        "no_prompt": numbers(before, found.metric),
        "prompt": numbers(run.test, found.metric),
        "gain": found.value,
        "gain_ci95": found.ci95,
    }
    rows = _row("no prompt", before, 0), _row(f"trained: {method}", run.test, run.prompt.nbytes)
    return Proof(rows=rows, columns=RETRIEVAL_COLUMNS, notes=(note, *few), report=report)


def _row(name: str, found: Evaluation, size: int) -> Row:
    return Row(
        prompt=name,
        score=found.score,
        second=float(found.metrics["recall@10"]),
        interval=found.ci95.get(found.primary),
        prompt_tokens=found.tokens_per_request,
        bytes_per_task=size,
        seconds=found.seconds,
    )
