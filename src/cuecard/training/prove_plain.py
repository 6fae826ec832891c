"""What a prompt buys on tasks that no prompt written by hand answers: beside a simple baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cuecard.evaluation.constant import baseline
from cuecard.evaluation.evaluate import Evaluation, Gain, evaluate, gain
from cuecard.evaluation.report import Row, paired
from cuecard.evaluation.scoring import SECOND
from cuecard.tasks import Task
from cuecard.training.log import Observer
from cuecard.training.run_facts import numbers, rows_note, run_facts, training_note
from cuecard.training.train import Run
from cuecard.types import Backbone


def compare_plainly(
    backbone: Backbone, task: Task, run: Run, tell: Observer
) -> tuple[tuple[Row, ...], tuple[str, ...], dict[str, Any]]:
    """The table's rows, its notes, and the report.

    The baseline learns from training rows and sees the test rows once. Options are also chosen by
    the template without a prompt.
    """
    assert run.test is not None
    name, found = baseline(task.spec, task.train, task.test)
    contestants: dict[str, tuple[str, Evaluation]] = {"baseline": (name, found)}
    if not task.spec.headed:
        tell({"event": "baseline", "name": "the template without a prompt", "variant": "plain"})
        bare = evaluate(backbone, task.spec, task.test)
        contestants["template"] = "the template without a prompt", bare
    gains = {key: gain(run.test, other) for key, (_, other) in contestants.items()}
    rows = [
        _row(task, label, other, 0, other.seconds if key == "template" else None)
        for key, (label, other) in contestants.items()
    ]
    trained = f"trained: {run.prompt.manifest.method}{' with a head' if task.spec.headed else ''}"
    rows.append(_row(task, trained, run.test, run.prompt.nbytes, run.test.seconds))
    report = _report(backbone, task, run, contestants, gains)
    return tuple(rows), _notes(report, contestants, gains), report


def _row(task: Task, name: str, found: Evaluation, size: int, seconds: float | None) -> Row:
    return Row(
        prompt=name,
        score=found.score,
        second=float(found.metrics[SECOND[task.spec.kind]]),
        interval=found.ci95.get(found.primary),
        prompt_tokens=found.tokens_per_request,
        bytes_per_task=size,
        seconds=seconds,
    )


def _report(
    backbone: Backbone,
    task: Task,
    run: Run,
    contestants: Mapping[str, tuple[str, Evaluation]],
    gains: Mapping[str, Gain],
) -> dict[str, Any]:
    assert run.test is not None
    metric = run.test.primary
    report = run_facts(backbone, task, run)
    report |= {"metric": metric, "prompt": numbers(run.test, metric)}
    for key, (name, found) in contestants.items():
        report[key] = {"name": name, **numbers(found, metric)}
        report[f"gain_{key}"] = gains[key].value
        report[f"gain_{key}_ci95"] = gains[key].ci95
    return report


def _notes(
    report: Mapping[str, Any],
    contestants: Mapping[str, tuple[str, Evaluation]],
    gains: Mapping[str, Gain],
) -> tuple[str, ...]:
    over = [
        f"Gain over {contestants[key][0]}: {found.value:+.3f}, {paired(found.ci95)}."
        for key, found in gains.items()
    ]
    return (rows_note(report), *over, training_note(report))
