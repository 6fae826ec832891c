"""What a prompt buys on tasks that no prompt written by hand answers: beside a simple baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cuecard.evaluation.constant import baseline
from cuecard.evaluation.evaluate import Evaluation, Gain, evaluate, gain
from cuecard.evaluation.report import Row
from cuecard.evaluation.scoring import SECOND
from cuecard.tasks import Task
from cuecard.training.log import Observer
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
    report: dict[str, Any] = {
        "test_rows": len(task.test),
        "train_rows": len(task.train),
        "validation_rows": len(task.validation),
        "metric": run.test.primary,
        "prompt": _numbers(run.test),
        "prompt_bytes": run.prompt.nbytes,
        "train_cpu_seconds": run.cpu_seconds,
        "train_seconds": run.seconds,
        "steps": run.steps,
        "best_step": run.best_step,
        "lr": run.lr,
        "seed": run.prompt.manifest.seed,
        "backbone": backbone.name,
        "fingerprint": backbone.fingerprint,
        "digest": run.prompt.digest,
        "data": task.report,
        "alarm": run.alarm,
    }
    for key, (name, found) in contestants.items():
        report[key] = {"name": name, **_numbers(found)}
        report[f"gain_{key}"] = gains[key].value
        report[f"gain_{key}_ci95"] = gains[key].ci95
    return report


def _numbers(found: Evaluation) -> dict[str, Any]:
    return dict(found.metrics) | {
        "ci95": found.ci95.get(found.primary),
        "intervals": found.ci95,
        "tokens_per_request": found.tokens_per_request,
        "seconds": found.seconds,
    }


def _notes(
    report: Mapping[str, Any],
    contestants: Mapping[str, tuple[str, Evaluation]],
    gains: Mapping[str, Gain],
) -> tuple[str, ...]:
    first = (
        f"{report['test_rows']:,} test rows, touched once; everything was chosen on "
        f"{report['validation_rows']:,} validation rows."
    )
    over = [
        f"Gain over {contestants[key][0]}: {found.value:+.3f}, paired 95% interval "
        f"{found.ci95.low:+.3f} to {found.ci95.high:+.3f}."
        for key, found in gains.items()
    ]
    last = (
        f"Trained in {report['steps']} steps, {report['train_cpu_seconds']:,.0f} CPU-seconds; "
        f"best at step {report['best_step']}; learning rate {report['lr']:.3g}; "
        f"seed {report['seed']}."
    )
    return (first, *over, last)
