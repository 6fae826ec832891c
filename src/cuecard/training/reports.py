"""A run's report, whatever led to it: compared with what its kind of task can be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cuecard.errors import Interrupted
from cuecard.evaluation.manual import ManualPrompt
from cuecard.interrupts import may_cut, stoppable
from cuecard.names import sentence_encoder
from cuecard.tasks import Task
from cuecard.training.log import Observer
from cuecard.training.prove import Proof, prove, write_proof
from cuecard.training.prove_retrieval import prove_retrieval
from cuecard.training.train import Run
from cuecard.types import Backbone


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
) -> Proof | None:
    """Compare a finished run on its test rows, and leave the report in its folder.

    Args:
        title: what the report's title calls the data.
        resume: the whole command that goes on after Ctrl-C.
        compare: whether to compare at all.
        demonstrations: as in `prove`.
        manual: hand-written prompts to compare with; made from the task by default.

    Returns:
        The comparison; None without test rows, or where it is not wanted.

    Raises:
        Interrupted: Ctrl-C; the prompt and its test are kept.
    """
    if not (compare and task.test):
        return None
    with stoppable(lambda: _stopped(folder, resume)), may_cut():
        if task.spec.kind == "embedding":
            proof = prove_retrieval(backbone, task, run, observer=observer)
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
        write_proof(proof, task, run, folder, title=title)
    return proof


def _stopped(folder: Path, resume: str) -> Interrupted:
    return Interrupted(
        "stopped after the test, before the end of the comparison",
        where=str(folder),
        hint=f"the prompt and its test are saved; go on with: {resume}",
    )
