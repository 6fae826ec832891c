"""What a prompt buys, compared with simple baselines and the best hand-written prompts.

Everything is chosen on validation rows; what is chosen answers the test rows once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cuecard.comparison.comparison import Comparison, Proof
from cuecard.comparison.prove_by_hand import by_hand_tokens, compare_by_hand
from cuecard.comparison.prove_plain import (
    compare_bare,
    compare_baselines,
    compare_image_models,
    compare_no_prompt,
    compare_start,
    compare_text_models,
    compare_zero_shot,
)
from cuecard.comparison.run_facts import seeds_of
from cuecard.comparison.table_files import as_latex, proof_csv
from cuecard.errors import DataError
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.evaluation.charts.intervals import contestants, interval_chart
from cuecard.evaluation.figures import confusion_figure, loss_figure
from cuecard.evaluation.pictures.mistakes import COLUMNS, surest_mistakes, write_mistakes
from cuecard.evaluation.report import Pictures, columns_for, write_json, write_markdown
from cuecard.evaluation.seeds import seed_table
from cuecard.plain_files import write_text
from cuecard.progress_bar import with_progress_bar
from cuecard.tasks import Task
from cuecard.training.run import Run
from cuecard.training.storage.log import Observer, read_log
from cuecard.types import Backbone, HasLabelTower

__all__ = ["Proof", "prove", "write_proof"]


@with_progress_bar
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
        manual: zero-shot candidates, or with demonstrations of their own; made from the task by
            default.
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
    """
    if run.test is None:
        raise DataError("there are no test rows to prove anything on", expected="a test split")
    comparison = Comparison(backbone, task, run, observer or (lambda event: None))
    compare_baselines(comparison)
    kind, mode = task.spec.task_kind, task.spec.mode
    # What the hand-written prompt, the most asked for of all, needs for its test.
    reserved = (
        0 if mode in ("head", "vector", "pixels") else by_hand_tokens(comparison, task, manual)
    )
    if mode in ("labels", "options"):
        compare_start(comparison, reserved)
    if isinstance(backbone, HasLabelTower) and kind.tower == "vision" and kind.single_label:
        compare_zero_shot(comparison, started="labels" in run.method.requires)
    if kind.tower == "vision":
        compare_image_models(comparison)
    else:
        compare_text_models(comparison, encoder, reserved)
    if kind.hand_written is not None:
        with comparison.optional("hand-written prompts"):
            compare_by_hand(comparison, kind.hand_written, manual, demonstrations, selection_rows)
    elif mode in ("vector", "pixels"):
        compare_no_prompt(comparison)
    elif mode != "head":
        compare_bare(comparison)
    if mode == "text":  # many passes: if they are left
        compare_start(comparison, 0)
    return comparison.proof(columns_for(kind.headings))


def write_proof(proof: Proof, task: Task, run: Run, folder: Path, title: str) -> None:
    """Leave `report.json`, `report.md`, `predictions.jsonl` and the figures in a run's folder.

    The table is in `report.csv` and `report.tex` (LaTeX, booktabs) too.
    Of a task of images, thumbnails of the mistakes that the prompt was the surest of, too.

    Args:
        title: what the report's title calls the data.
    """
    figures = {"Loss and validation score over steps": "figures/training.png"}
    loss_figure(read_log(folder), folder / "figures" / "training.png")
    if len(proof.rows) > 1:
        figures["Scores with their 95% intervals"] = "figures/contestants.svg"
        chart = interval_chart(contestants(proof.rows), proof.columns[1], ground="#ffffff")
        write_text(chart, folder / "figures" / "contestants.svg")
    if run.test is not None and "confusion" in run.test.metrics:
        figures["Confusion matrix on the test rows"] = "figures/confusion.png"
        confusion_figure(
            run.test.metrics["confusion"], task.spec.labels, folder / "figures" / "confusion.png"
        )
    if run.test is not None:
        run.test.save_predictions(folder / "predictions.jsonl")
    mistakes = [] if run.test is None else surest_mistakes(task.spec, run.test)
    thumbnails, told = write_mistakes(mistakes, folder, "figures/mistakes")
    more = {"surest_mistakes": told} if told else {}
    write_json({**proof.report, **more}, folder / "report.json")
    if proof.rows:
        write_text(proof_csv(proof.rows, proof.columns[1:3]), folder / "report.csv")
        cells = [row.cells() for row in proof.rows]
        write_text(as_latex(proof.columns, cells), folder / "report.tex")
    write_markdown(
        folder / "report.md",
        title=f"{title}: {run.prompt.manifest.method} on {proof.report['backbone']}",
        rows=proof.rows,
        columns=proof.columns,
        notes=proof.notes,
        more=None
        if (seeds := seeds_of(run)) is None
        else seed_table(seeds, task.spec.task_kind.headings[0])[:2],
        figures=figures,
        pictures=Pictures("The surest mistakes", COLUMNS, thumbnails) if thumbnails else None,
    )
