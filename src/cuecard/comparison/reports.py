"""A run's report, whatever led to it: compared with what its kind of task can be compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cuecard.comparison.comparison import Comparison
from cuecard.comparison.prove import Proof, prove, write_proof
from cuecard.comparison.run_facts import run_facts, training_notes
from cuecard.errors import Interrupted
from cuecard.evaluation.advice import unbeaten
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.evaluation.report import ReportRow, columns_for
from cuecard.interrupts import may_cut, stoppable
from cuecard.names import sentence_encoder
from cuecard.parameter_counts import trained_text
from cuecard.tasks import Task
from cuecard.training.run import Run
from cuecard.training.setup import key_of
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone, Interval

FILE = "report.json"


def report_run(
    backbone: Backbone,
    task: Task,
    run: Run,
    folder: Path,
    *,
    title: str,
    resume: str,
    compare: bool = True,
    demonstrations: Sequence[int] | None = None,
    manual: Sequence[ManualPrompt] | None = None,
    observer: Observer | None = None,
    what_else: str = "",
    notes: Sequence[str] = (),
) -> Proof | None:
    """Compare a finished run on its test rows, and leave the report in its folder.

    Without the comparison, or without test rows, the report holds what is left. A comparison that
    the folder holds already is not made again.

    Args:
        title: what the report's title calls the data.
        resume: the whole command that resumes after Ctrl-C.
        compare: whether to compare at all.
        demonstrations: as in `prove`.
        manual: hand-written prompts to compare with; made from the task by default.
        what_else: what may do better, as the end of a sentence; told where the prompt is not
            clearly better than what it should beat.
        notes: what else the report says, as sentences.

    Returns:
        The comparison; None without test rows, or where it is not wanted.

    Raises:
        Interrupted: Ctrl-C; the prompt and its test are kept.
    """
    wanted = bool(compare and task.test)
    asked: dict[str, Any] = {
        "demonstrations": None if demonstrations is None else list(demonstrations)
    }
    if manual is not None:
        asked["manual"] = key_of([repr(prompt) for prompt in manual])
    if wanted:
        kept = _read_proof(folder, run, asked)
        if kept is not None:
            return kept
    with stoppable(lambda: _stopped(folder, resume)):
        with may_cut():
            if not wanted:
                proof = _alone(backbone, task, run)
            else:
                proof = prove(
                    backbone,
                    task,
                    run,
                    manual=manual,
                    demonstrations=demonstrations,
                    encoder=sentence_encoder(),
                    observer=observer,
                )
                if what_else and (rivals := unbeaten(proof.report)):
                    told = f"Not clearly better than {rivals}: {what_else}."
                    proof = replace(proof, notes=(*proof.notes, told))
        proof = replace(proof, notes=(*proof.notes, *notes))
        table = {"columns": proof.columns, "rows": proof.rows, "notes": proof.notes}
        more = {"table": table, "asked": asked if wanted else None}
        write_proof(replace(proof, report={**proof.report, **more}), task, run, folder, title=title)
    return proof if wanted else None


def _alone(backbone: Backbone, task: Task, run: Run) -> Proof:
    """The report of a run that is compared with nothing."""
    columns = columns_for(task.spec.task_kind.headings)
    if run.test is not None:
        return Comparison(backbone, task, run, lambda event: None).proof(columns)
    facts = run_facts(backbone, task, run) | {"validation": run.validation}
    seen = run.validation
    shown = "" if seen.accuracy is None else f"accuracy {seen.accuracy:.3f}, "
    notes = [
        f"No test rows; on {len(task.validation):,} validation rows {shown}loss {seen.loss:.4f}.",
        *training_notes(facts, task),
        f"Parameters: {trained_text(facts['trained_parameters'], facts['parameters'])}.",
        *([f"Warning: {run.alarm}."] if run.alarm else ()),
    ]
    return Proof(rows=(), columns=columns, notes=tuple(notes), report=facts)


def _read_proof(folder: Path, run: Run, asked: Mapping[str, Any]) -> Proof | None:
    """The comparison that a finished run's folder holds; None where it is not this one."""
    found = read_report(folder)
    if found is None or found.report.get("digest") != run.prompt.digest:
        return None
    report = dict(found.report)
    return replace(found, report=report) if report.pop("asked", None) == asked else None


def read_report(folder: Path) -> Proof | None:
    """The report that a run's folder holds; None for none, or one that was cut off or altered."""
    try:
        report = json.loads((folder / FILE).read_text(encoding="utf-8"))
        table = report.pop("table")
        rows = tuple(_row(row) for row in table["rows"])
        return Proof(rows, tuple(table["columns"]), tuple(table["notes"]), report)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _row(values: Mapping[str, Any]) -> ReportRow:
    bounds = values["interval"]
    return ReportRow(**{**values, "interval": None if bounds is None else Interval(*bounds)})


def _stopped(folder: Path, resume: str) -> Interrupted:
    return Interrupted(
        "stopped after the test, before the end of the comparison",
        where=str(folder),
        hint=f"the prompt and its test are saved; resume with: {resume}",
    )
