"""A sweep's trials and their results, as a table, JSON and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cuecard.errors import TrainingError
from cuecard.evaluation.report import markdown_cells, markdown_text, write_json
from cuecard.html_tables import html_table, html_view
from cuecard.plain_files import write_text
from cuecard.training.sweeps.space import Settings
from cuecard.validation_text import counted

if TYPE_CHECKING:
    from cuecard.training.run import Run
    from cuecard.training.storage.checkpoint import State

T = TypeVar("T")
JSON, MARKDOWN = "sweep.json", "sweep.md"
COLUMNS = ("trial", "settings", "validation loss", "accuracy", "best step", "steps", "end", "s")


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Attributes:
        number: its place in the order of starts, of a shard's trial in the whole sweep.
        task: its task's name; empty where there is one task.
        settings: what it changed, by full key.
        loss, accuracy: at its best validation.
        best_step, steps: of that, and in all.
        ended: "steps", "patience", "pruned", "diverged"; None while it runs.
        error: what it diverged with.
        seconds, cpu_seconds: its share of the passes it was in.
    """

    number: int
    task: str
    settings: Settings
    loss: float
    accuracy: float | None
    best_step: int
    steps: int
    ended: str | None
    error: Mapping[str, str | None] | None
    seconds: float
    cpu_seconds: float

    @classmethod
    def of(cls, number: int, task: str, settings: Settings, state: State) -> Trial:
        """From what the checkpoint keeps."""
        return cls(
            number=number,
            task=task,
            settings=settings,
            loss=state.best_loss,
            accuracy=state.best_accuracy,
            best_step=state.best_step,
            steps=state.step,
            ended=state.ended,
            error=state.error,
            seconds=round(state.wall_seconds, 2),
            cpu_seconds=round(state.cpu_seconds, 2),
        )

    def cells(self) -> tuple[str, ...]:
        """The trial as text, one string per column."""
        return (
            f"{self.task} {self.number}".strip(),
            settings_text(self.settings),
            f"{self.loss:.4f}",
            "-" if self.accuracy is None else f"{self.accuracy:.3f}",
            f"{self.best_step:,}",
            f"{self.steps:,}",
            self.ended or "running",
            f"{self.seconds:.1f}",
        )


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes:
        trials: all of them, in the order of their starts; a shard's own ones.
        runs: each task's chosen trial as a run, the only one that saw the test rows; none in a
            shard, which chooses nothing.
        chosen: each task's chosen trial's number; none in a shard.
        together: how many were trained in one pass at most.
        folder: its folder; None if nothing was kept.
    """

    trials: tuple[Trial, ...]
    runs: Mapping[str, Run]
    chosen: Mapping[str, int]
    together: int
    folder: Path | None

    @property
    def best(self) -> Trial:
        """The chosen trial of the first task.

        Raises:
            TrainingError: a shard.
        """
        return self.trials[_first(self.chosen)]

    @property
    def run(self) -> Run:
        """The chosen run of the first task.

        Raises:
            TrainingError: a shard.
        """
        return _first(self.runs)

    def _repr_html_(self) -> str:
        rows = [trial.cells() for trial in self.trials]
        best = set(self.chosen.values())
        bold = {place for place, trial in enumerate(self.trials) if trial.number in best}
        table = html_table(COLUMNS, rows, bold=bold)
        return html_view(f"Sweep of {counted(len(rows), 'trial')}", table)


def _first(chosen: Mapping[str, T]) -> T:
    if not chosen:
        raise TrainingError(
            "a shard of a sweep chooses no trial",
            got="the trials of one shard",
            expected="all shards, collected",
            hint="cuecard.collect_sweep, or cuecard sweep --collect",
        )
    return next(iter(chosen.values()))


def settings_text(settings: Settings) -> str:
    """Settings in a line, by short keys."""
    parts = [
        f"{key.split('.', 1)[1]} {f'{value:.3g}' if isinstance(value, float) else value}"
        for key, value in settings.items()
    ]
    return ", ".join(parts)


def write_trials(
    folder: Path, trials: Sequence[Trial], runs: Mapping[str, Run], best: Mapping[str, int]
) -> None:
    """Leave `sweep.json` and `sweep.md` in a sweep's folder."""
    report: dict[str, Any] = {
        "trials": trials,
        "best": [
            {
                "task": task,
                "trial": number,
                "folder": runs[task].folder,
                "digest": runs[task].prompt.digest,
                "validation": runs[task].validation,
                "test": _tested(runs[task]),
            }
            for task, number in best.items()
        ],
    }
    write_json(report, folder / JSON)
    table = markdown_cells([trial.cells() for trial in trials], columns=COLUMNS, numbers=False)
    notes = [
        f"- Chosen{f' for {markdown_text(task)}' if task else ''} on validation rows: "
        f"trial {number} ({markdown_text(settings_text(trials[number].settings))}). "
        f"{_test_note(runs[task])}"
        for task, number in best.items()
    ]
    title = f"# {markdown_text(folder.name)}"
    write_text("\n".join([title, "", table, *notes, ""]), folder / MARKDOWN)


def _tested(run: Run) -> dict[str, Any] | None:
    found = run.test
    return None if found is None else {found.primary: found.score, "ci95": found.ci95}


def _test_note(run: Run) -> str:
    if run.test is None:
        return "There were no test rows."
    rows = len(run.test.records)
    return f"On {rows:,} test rows, touched by it alone and once: {run.test.score:.3f}."
