"""How long work shows itself: drawn on a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.status import Status

from cuecard.catalogue import Progress as OnProgress
from cuecard.cli.boundary import json_line
from cuecard.cli.views.console import console, plain_console, print_json
from cuecard.cli.views.event_text import event_text
from cuecard.cli.views.pace import Pace
from cuecard.cli.views.tables import say

_EVERY = 10  # steps between two plain lines
_SECONDS = 5.0  # between two plain lines about rows
# What is being done after an event of this name, until the next event.
_NEXT = {
    "start": "validating",
    "resume": "resuming",
    "lr": "trying learning rates",
    "race": "racing",
    "test": "testing",
    "done": "finishing",
    "candidate": "trying hand-written prompts",
    "baseline": "testing",
}


class RowCount:
    """How far a test or a comparison is, every few seconds.

    Args:
        clock: seconds from anywhere.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told = clock()

    def begin(self) -> None:
        """Something was said: count the seconds from now."""
        self._told = self._clock()

    def due(self) -> bool:
        """Whether it is time to say something; then the seconds are counted from now."""
        if self._clock() - self._told < _SECONDS:
            return False
        self.begin()
        return True


def rows_text(event: Mapping[str, Any]) -> str:
    """A progress event in a few words."""
    return f"{event['what']}: {event['done']:,} of {event['total']:,} rows"


class TrainView:
    """Shows a run's events: `with TrainView() as view: train(..., observer=view)`.

    On a terminal a bar with loss, validation score, rate and time left, and lines above it;
    elsewhere lines alone.

    Args:
        text: an event -> its line; None for one that is not shown.
        json: print each event as a JSON object instead.
        out: where to; standard output by default.
        clock: seconds from anywhere.
    """

    def __init__(
        self,
        text: Callable[[dict[str, Any]], str | None] = event_text,
        *,
        json: bool = False,
        out: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._text, self._json = text, json
        self._out = out or console()
        self._pace = Pace()
        self._rows = RowCount(clock)
        self._bar: Progress | None = None
        self._status: Status | None = None

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
        """Show one event of the run's log, or of how far a test is."""
        if event["event"] == "progress":
            self._count(event)
            return
        self._rows.begin()
        if self._json:
            print_json(event)
            return
        self._pace.update(event)
        text = self._text(event)
        if text is not None:
            say(self._out, text)
        if self._out.is_interactive:
            self._draw(event["event"])
        elif event["event"] == "step" and event["step"] % _EVERY == 0:
            say(self._out, str(self._pace))

    def _count(self, event: dict[str, Any]) -> None:
        if self._status is not None:
            self._status.update(rows_text(event))
        elif self._rows.due():
            print_json(event) if self._json else say(self._out, f"  {rows_text(event)}")

    def _draw(self, event: str) -> None:
        if event in _NEXT:
            self._clear()
            self._status = Status(_NEXT[event], console=self._out)
            self._status.start()
        elif event in ("step", "validation"):
            self._draw_bar()

    def _draw_bar(self) -> None:
        if self._bar is None:
            self._clear()
            self._bar = _training_bar(self._out)
            self._bar.add_task("", total=self._pace.total, **self._fields())
            self._bar.start()
        task = self._bar.task_ids[0]
        self._bar.update(task, completed=self._pace.step, **self._fields())

    def _fields(self) -> dict[str, Any]:
        pace = self._pace
        return {
            "loss": pace.loss,
            "score": pace.score,
            "rate": f"{pace.rate:.2f}",
            "left": pace.left,
        }

    def _clear(self) -> None:
        for shown in (self._bar, self._status):
            if shown is not None:
                shown.stop()
        self._bar = self._status = None


class EventLines:
    """Prints a line for every event that has one.

    Args:
        text: an event -> its line; None for one that is not shown.
        json: print each event as a JSON object instead.
        out: where to; standard output by default.
    """

    def __init__(
        self,
        text: Callable[[dict[str, Any]], str | None],
        *,
        json: bool = False,
        out: Console | None = None,
    ) -> None:
        self._text, self._json, self._out = text, json, out or console()

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event."""
        if self._json:
            print_json(event)
        elif (text := self._text(event)) is not None:
            say(self._out, text)


def _training_bar(out: Console) -> Progress:
    return Progress(
        TextColumn("{task.completed}/{task.total}"),
        BarColumn(bar_width=None),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("valid {task.fields[score]}", style="bold"),
        TextColumn("{task.fields[rate]} steps/s"),
        TextColumn("{task.fields[left]} left"),
        console=out,
        transient=True,
        expand=True,
    )


@contextmanager
def fetch_progress(*, json: bool = False, out: Console | None = None) -> Iterator[OnProgress]:
    """A callback for what `load_backbone` and `data_source` fetch and convert.

    Args:
        json: one JSON object per tenth instead of a bar or lines.
        out: where to; standard error by default, in every form.
    """
    meter = _Meter(json, out or plain_console(stderr=True, soft_wrap=True))
    try:
        yield meter
    finally:
        meter.stop()


@contextmanager
def rows_progress(
    what: str, total: int, *, json: bool = False, least: int = 0
) -> Iterator[Callable[[int], None] | None]:
    """A callback that is told how many more rows are done, shown as `fetch_progress` does.

    Args:
        least: with fewer rows nothing is shown, and there is no callback.
    """
    if total < least:
        yield None
        return
    with fetch_progress(json=json) as show:
        done = 0

        def more(rows: int) -> None:
            nonlocal done
            done += rows
            show(what, done, total)

        show(what, 0, total)
        yield more


class _Meter:
    """Shows (what, done, total) as a bar, or as a line at every tenth."""

    def __init__(self, json: bool, out: Console) -> None:
        self._json, self._out = json, out
        self._bar: Progress | None = None
        self._what = ""
        self._tenth = -1
        self._finished = False

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.stop()
            self._what, self._tenth, self._finished = what, -1, False
        if self._out.is_interactive and not self._json and total > 0:
            self._draw(what, done, total)
            return
        tenth = 10 * min(done, total) // total if total > 0 else 0
        if tenth > self._tenth:
            self._tenth = tenth
            self._tell(what, done, total)

    def stop(self) -> None:
        """Leave the bar as it is; the next call draws a new one."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, what: str, done: int, total: int) -> None:
        if self._finished and done >= total:
            return
        self._finished = done >= total
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                console=self._out,
            )
            self._bar.add_task(what, total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done)
        if self._finished:
            self.stop()

    def _tell(self, what: str, done: int, total: int) -> None:
        if self._json:
            event = {"event": "progress", "what": what, "done": done, "total": total}
            typer.echo(json_line(event, sys.stderr), err=True)
            return
        share = f": {10 * self._tenth}%" if total > 0 else ""
        say(self._out, f"{what}{share}")
