"""How a sweep shows itself while it runs, and what it led to."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from cuecard.cli.views.console import console, print_json
from cuecard.cli.views.event_text import event_text
from cuecard.cli.views.progress import RowCount, rows_text
from cuecard.cli.views.tables import print_table, say, say_line
from cuecard.cli.views.usage_line import predict_command
from cuecard.evaluation.report import plain
from cuecard.training.sweeps.trials import COLUMNS, settings_text
from cuecard.validation_text import counted

if TYPE_CHECKING:
    from cuecard.runs.sweeps.sweep_recipe import SweepOutcome
    from cuecard.training.sweeps.trials import Sweep

# Events of a trial that is tested where it was trained.
_AFTER = {"best_validation", "test", "done", "finished"}
_EVERY = 100  # steps of any trial between two plain lines


class SweepView:
    """Shows a sweep's events: `with SweepView() as view: sweep(..., observer=view)`.

    On a terminal a bar over the trials, and a line for each that ends; elsewhere lines alone.

    Args:
        json: print each event as a JSON object instead.
        out: where to; standard output by default.
        clock: seconds from anywhere.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        out: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._json, self._out, self._clock = json, out or console(), clock
        self._rows = RowCount(clock)
        self._bar: Progress | None = None
        self._total = self._done = self._steps = 0
        self._unit = "trial"
        self._running: set[int] = set()
        self._best: tuple[float, int] | None = None
        self._since = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clear()

    def __call__(self, event: dict[str, Any]) -> None:
        """Show one event."""
        if event["event"] == "progress":
            if self._rows.due():
                print_json(event) if self._json else say(self._out, f"  {rows_text(event)}")
            return
        self._rows.begin()
        if self._json:
            print_json(event)
            return
        if event["event"] == "sweep":
            self._begin(event)
        elif "trial" in event:
            self._take(event)
        else:
            self._clear()
            text = event_text(event)
            if text is not None:
                say(self._out, text)

    def __str__(self) -> str:
        rate = self._steps / max(self._clock() - self._since, 1e-9)
        best = "" if self._best is None else f", best loss {self._best[0]:.4f} (#{self._best[1]})"
        total = counted(self._total, self._unit)
        return (
            f"{self._done} of {total} done, {len(self._running)} running: "
            f"{counted(self._steps, 'step')}, {rate:.2f} steps/s{best}"
        )

    def _begin(self, event: dict[str, Any]) -> None:
        self._total, self._done = event["trials"], event["done"]
        self._unit = event.get("unit", "trial")
        self._since = self._clock()
        resumed = f"resuming after {self._done} of " if event["started"] else ""
        together = event["together"]
        what = "Training" if self._unit == "seed" else "Sweep"
        total = counted(self._total, self._unit)
        say(self._out, f"{what}: {resumed}{total}, up to {together} in one pass")

    def _take(self, event: dict[str, Any]) -> None:
        kind, number = event["event"], event["trial"]
        if kind == "trial_done":
            self._running.discard(number)
            self._done += 1
            name = "" if self._unit == "seed" else f"#{number} "
            say(self._out, f"{name}{_ending(event)}")
        elif kind in _AFTER:
            self._clear()
            return
        else:
            self._running.add(number)
        if kind == "step":
            self._steps += 1
        elif kind == "validation":
            seen = (event["validation_loss"], number)
            self._best = seen if self._best is None else min(self._best, seen)
        if self._out.is_interactive:
            self._draw()
        elif kind == "step" and self._steps % _EVERY == 0:
            say(self._out, str(self))

    def _draw(self) -> None:
        if self._bar is None:
            self._bar = Progress(
                BarColumn(bar_width=20),
                TextColumn("{task.description}", markup=False),
                console=self._out,
                transient=True,
            )
            self._bar.add_task("", total=self._total)
            self._bar.start()
        task = self._bar.task_ids[0]
        self._bar.update(task, completed=self._done, description=str(self))

    def _clear(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _ending(event: dict[str, Any]) -> str:
    accuracy = "" if event["accuracy"] is None else f"accuracy {event['accuracy']:.3f}, "
    ends = {"pruned": "pruned", "diverged": "diverged", "patience": "no better for a while"}
    end = ends.get(event["ended"])
    return (
        f"{settings_text(event['settings'])}: validation {accuracy}loss {event['loss']:.4f} "
        f"at step {event['best_step']:,} of {event['steps']:,}{f', {end}' if end else ''}"
    )


def print_sweep(outcome: SweepOutcome, out: Console) -> None:
    """Print the table of trials, what was chosen, and where everything lies."""
    found = outcome.sweep
    trials = [trial.cells() for trial in found.trials]
    if not found.runs:
        print_table(out, COLUMNS, trials, left=COLUMNS[:2], title="Trials of this shard")
        say_line(out, f"\ntable    {found.folder}/sweep.md")
        say_line(out, f"collect  {_collect_command(found)}  (when all shards are finished)")
        return
    best = [place for place, trial in enumerate(found.trials) if trial.number == found.best.number]
    out.print()
    print_table(out, COLUMNS, trials, left=COLUMNS[:2], bold=best, title="Trials")
    run = found.run
    say(
        out, f"chosen on validation rows: #{found.best.number} {settings_text(found.best.settings)}"
    )
    if outcome.proof is not None:
        rows = [row.cells() for row in outcome.proof.rows]
        print_table(out, outcome.proof.columns, rows, bold=(len(rows) - 1,))
        for note in outcome.proof.notes:
            say(out, note)
    elif run.test is not None:
        tested = counted(len(run.test.records), "test row")
        say(out, f"{run.test.primary} {run.test.score:.3f} on {tested}")
    say_line(out, f"\ntable   {found.folder}/sweep.md")
    say_line(out, f"prompt  {run.folder}/prompt  ({run.prompt.nbytes:,} bytes)")
    assert run.folder is not None
    say_line(out, f"use it  {predict_command(outcome.task.spec, run.folder)}")


def _collect_command(found: Sweep) -> str:
    """What makes one sweep of a shard and the others: by their pattern, if their names have one."""
    folder = str(found.folder)
    pattern = re.sub(r"-[0-9]+(-of-[0-9]+)$", r"-*\1", folder)
    named = pattern if pattern != folder and shlex.quote(folder) == folder else "FOLDER..."
    return f"cuecard sweep --collect {named}"


def sweep_summary(outcome: SweepOutcome) -> dict[str, Any]:
    """The same as one JSON object."""
    found = outcome.sweep
    summary: dict[str, Any] = {
        "event": "result",
        "folder": found.folder,
        "trials": found.trials,
        "together": found.together,
    }
    return dict(plain(summary | (_chosen(outcome) if found.runs else {})))


def _chosen(outcome: SweepOutcome) -> dict[str, Any]:
    found, run = outcome.sweep, outcome.sweep.run
    summary: dict[str, Any] = {
        "run": run.folder,
        "best": found.best.number,
        "settings": found.best.settings,
        "digest": run.prompt.digest,
        "validation": run.validation,
        "alarm": run.alarm,
    }
    if run.test is not None:
        summary["test"] = run.test.to_dict()
    if outcome.proof is not None:
        summary["report"] = outcome.proof.report
    return summary
