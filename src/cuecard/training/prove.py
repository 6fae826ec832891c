"""What a prompt buys: beside the majority class and the best prompts written by hand.

Hand-written prompts are chosen on validation rows; each chosen one sees the test rows once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.errors import ConfigError, DataError
from cuecard.evaluation.baselines import Choice, majority, select_manual
from cuecard.evaluation.evaluate import Evaluation, Gain, evaluate, gain, score_predictions
from cuecard.evaluation.figures import confusion_figure, loss_figure
from cuecard.evaluation.manual import ManualPrompt, default_manual_prompts, with_demonstrations
from cuecard.evaluation.predict import calibrate
from cuecard.evaluation.report import COLUMNS, Row, paired, write_json, write_markdown
from cuecard.evaluation.scoring import SECOND
from cuecard.tasks import Task, draw_rows
from cuecard.training.log import Observer, read_log
from cuecard.training.prove_plain import compare_plainly
from cuecard.training.run_facts import numbers, rows_note, run_facts, training_note
from cuecard.training.train import Run
from cuecard.types import Backbone, Record

# Contestants by their name in the report -> the prompt's gain over them there, and in words.
_GAINS = {
    "manual": ("gain", "best zero-shot"),
    "manual_calibrated": ("gain_calibrated", "best calibrated zero-shot"),
    "in_context": ("gain_in_context", "best in-context"),
}
# Kinds that prompts written by hand can answer, and what the report compares. Texts that say the
# same in other words would all count as wrong by `PRIMARY`, the exact match.
_FIRST = {"classification": "accuracy", "text-to-text": "rouge_l"}


@dataclass(frozen=True)
class Proof:
    """The comparison on the test rows.

    Attributes:
        rows: the table, the prompt last.
        columns: its headings.
        notes: sentences about gains and training.
        report: the same and more, as JSON knows it.
    """

    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    notes: tuple[str, ...]
    report: Mapping[str, Any]


def prove(
    backbone: Backbone,
    task: Task,
    run: Run,
    *,
    manual: Sequence[ManualPrompt] | None = None,
    demonstrations: Sequence[int] = (4,),
    selection_rows: int = 256,
    observer: Observer | None = None,
) -> Proof:
    """Compare a run's prompt with the majority class and the best hand-written prompts.

    Where none could answer, with a baseline that learns from the training rows.

    Args:
        manual: zero-shot candidates; made from the task by default.
        demonstrations: how many solved training rows the in-context candidates show; none of
            them leaves the in-context comparison out.
        selection_rows: how many validation rows the hand-written prompts are chosen on.
        observer: called with an event per candidate and per test.

    Raises:
        DataError: the task has no test rows.
        ConfigError: a task that is not asked in words; see `prove_retrieval`.
    """
    if task.spec.kind == "embedding":
        raise ConfigError(
            "no prompt written by hand makes vectors",
            where="kind",
            got=task.spec.kind,
            expected="classification or text-to-text",
        )
    if run.test is None:
        raise DataError("there are no test rows to prove anything on", expected="a test split")
    tell = observer or (lambda event: None)
    if task.spec.kind not in _FIRST:
        table, notes, found = compare_plainly(backbone, task, run, tell)
        return Proof(rows=table, columns=COLUMNS[task.spec.kind], notes=notes, report=found)
    return _prove_by_hand(backbone, task, run, manual, demonstrations, selection_rows, tell)


def _prove_by_hand(
    backbone: Backbone,
    task: Task,
    run: Run,
    manual: Sequence[ManualPrompt] | None,
    demonstrations: Sequence[int],
    selection_rows: int,
    tell: Observer,
) -> Proof:
    # By hand the model says a label's word, whatever the trained prompt does.
    task = replace(task, spec=task.spec.model_copy(update={"head": "none"}))
    assert run.test is not None
    chosen_on = draw_rows(task.validation, selection_rows, "by hand")
    candidates = list(manual or default_manual_prompts(task.spec))
    contestants: dict[str, tuple[Choice, Evaluation]] = {}
    zero_shot = _select(backbone, task, chosen_on, candidates, tell)
    if task.spec.kind == "classification" and zero_shot.as_written is not None:
        written = zero_shot.as_written
        found = _test(backbone, task, written, tell)
        contestants["manual"] = written, found
        contestants["manual_calibrated"] = (
            zero_shot,
            _calibrated(task, found, zero_shot)
            if zero_shot.manual == written.manual
            else _test(backbone, task, zero_shot, tell),
        )
    else:
        contestants["manual"] = zero_shot, _test(backbone, task, zero_shot, tell)
    if demonstrations:
        shown = [
            prompt
            for base in _plain_first(candidates, zero_shot)
            for prompt in with_demonstrations(base, task.train, demonstrations, task.spec, 0)
        ]
        in_context = _select(backbone, task, chosen_on, shown, tell)
        contestants["in_context"] = in_context, _test(backbone, task, in_context, tell)
    most = majority(task.spec, task.train, task.test)
    metric = _FIRST[task.spec.kind]
    gains = {name: gain(run.test, found, metric=metric) for name, (_, found) in contestants.items()}
    report = _report(backbone, task, run, most, contestants, gains)
    return Proof(
        rows=_rows(task, run, most, contestants),
        columns=COLUMNS[task.spec.kind],
        notes=_notes(report),
        report=report,
    )


def write_proof(proof: Proof, task: Task, run: Run, folder: Path, title: str) -> None:
    """Leave `report.json`, `report.md`, `predictions.jsonl` and the figures in a run's folder."""
    assert run.test is not None
    figures = {"Loss and validation score over steps": "figures/training.png"}
    loss_figure(read_log(folder), folder / "figures" / "training.png")
    if task.spec.kind == "classification":
        figures["Confusion matrix on the test rows"] = "figures/confusion.png"
        confusion_figure(
            run.test.metrics["confusion"], task.spec.labels, folder / "figures" / "confusion.png"
        )
    run.test.save_predictions(folder / "predictions.jsonl")
    write_json(proof.report, folder / "report.json")
    write_markdown(
        folder / "report.md",
        title=title,
        rows=proof.rows,
        columns=proof.columns,
        notes=proof.notes,
        figures=figures,
    )


def _select(
    backbone: Backbone,
    task: Task,
    rows: Sequence[Record],
    candidates: Sequence[ManualPrompt],
    tell: Observer,
) -> Choice:
    return select_manual(
        backbone,
        task.spec,
        rows,
        candidates,
        on_trial=lambda trial: tell(
            {
                "event": "candidate",
                "name": trial.name,
                "variant": trial.variant,
                "score": trial.score,
            }
        ),
    )


def _test(backbone: Backbone, task: Task, choice: Choice, tell: Observer) -> Evaluation:
    tell({"event": "baseline", "name": choice.manual.name, "variant": choice.variant})
    return evaluate(backbone, choice.spec, task.test, prior=choice.prior, stop=choice.stop)


def _calibrated(task: Task, found: Evaluation, choice: Choice) -> Evaluation:
    """The same answers to the same prompt, read with the choice's prior."""
    assert choice.prior is not None
    return score_predictions(
        choice.spec,
        task.test,
        calibrate(found.predictions, choice.prior),
        seconds=found.seconds,
        tokens_per_request=found.tokens_per_request,
    )


def _plain_first(candidates: Sequence[ManualPrompt], best: Choice) -> list[ManualPrompt]:
    """Demonstrations are shown in the task's own template and in the best zero-shot prompt's."""
    first = candidates[0]
    return [first] if best.manual == first else [first, best.manual]


def _rows(
    task: Task, run: Run, most: Evaluation, contestants: Mapping[str, tuple[Choice, Evaluation]]
) -> tuple[Row, ...]:
    first, second = _FIRST[task.spec.kind], SECOND[task.spec.kind]

    def row(name: str, found: Evaluation, size: int, seconds: float | None) -> Row:
        return Row(
            prompt=name,
            score=float(found.metrics[first]),
            second=float(found.metrics[second]),
            interval=found.ci95.get(first),
            prompt_tokens=found.tokens_per_request,
            bytes_per_task=size,
            seconds=seconds,
        )

    assert run.test is not None
    rows = [row("majority class", most, 0, None)]
    for choice, found in contestants.values():
        read = "" if choice.variant == "plain" else f" ({choice.variant})"
        size = len(choice.spec.template.encode())
        rows.append(row(f"by hand: {choice.manual.name}{read}", found, size, found.seconds))
    method = run.prompt.manifest.method
    rows.append(row(f"trained: {method}", run.test, run.prompt.nbytes, run.test.seconds))
    return tuple(rows)


def _report(
    backbone: Backbone,
    task: Task,
    run: Run,
    most: Evaluation,
    contestants: Mapping[str, tuple[Choice, Evaluation]],
    gains: Mapping[str, Gain],
) -> dict[str, Any]:
    assert run.test is not None
    metric = _FIRST[task.spec.kind]
    report = run_facts(backbone, task, run) | {
        "metric": metric,
        "majority": numbers(most, metric),
        "prompt": numbers(run.test, metric) | {"confusion": run.test.metrics.get("confusion")},
    }
    for key, (choice, found) in contestants.items():
        report[key] = numbers(found, metric) | {
            "name": choice.manual.name,
            "variant": choice.variant,
            "template": choice.spec.template,
            "chat": choice.spec.chat,
            "candidates": choice.table,
            "skipped": choice.skipped,
        }
        name, _ = _GAINS[key]
        report[name] = gains[key].value
        report[f"{name}_ci95"] = gains[key].ci95
    # Which hand-written prompt is the best of all is a choice too, and made on validation rows.
    strongest = max(contestants, key=lambda key: contestants[key][0].score)
    report["best_by_hand"] = strongest
    report["gain_best_by_hand_ci95"] = gains[strongest].ci95
    return report


def _notes(report: Mapping[str, Any]) -> tuple[str, ...]:
    notes = [rows_note(report)]
    in_what = "" if report["metric"] == "accuracy" else " in ROUGE-L"
    for name, against in _GAINS.values():
        if name in report:
            notes.append(
                f"Gain{in_what} over the {against} prompt: {report[name]:+.3f}, "
                f"{paired(report[f'{name}_ci95'])}."
            )
    notes.append(training_note(report))
    if report["alarm"]:
        notes.append(f"Warning: {report['alarm']}.")
    return tuple(notes)
