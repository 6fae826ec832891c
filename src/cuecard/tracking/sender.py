"""Sends a run's numbers to one tracker, each of them once."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cuecard.errors import CuecardWarning
from cuecard.tracking.readings import Reading
from cuecard.tracking.sent import Sent, read_sent, write_sent
from cuecard.tracking.tracker import TrackedRun, Tracker
from cuecard.tracking.trackers import TRACKERS, TrackerName

_MOST_WAITING = 100  # readings, beside those of a validation


@dataclass
class _Part:
    """A part of the run.

    Attributes:
        before: each curve's last step in earlier sittings.
        run: the tracker's; None until there is something to send.
    """

    sent: Sent
    before: Mapping[str, int]
    run: TrackedRun | None = None
    waiting: list[Reading] = field(default_factory=list)


class Sender:
    """What a run tells one tracker. A tracker that fails is left alone from then on.

    Args:
        folder: the run's, where is kept what was sent.

    Attributes:
        sent: how many numbers were sent.
        known: how many more an earlier sitting had sent.
        error: why nothing more is sent; None while all is well.
    """

    def __init__(self, name: TrackerName, folder: Path) -> None:
        self.name, self._folder = name, folder
        self.sent = self.known = 0
        self.error: Exception | None = None
        self._tracker: Tracker | None = None
        self._parts: dict[str, _Part] = {}
        self._sent: dict[str, Sent] = {}

    @property
    def problem(self) -> str | None:
        """Its error in a line."""
        if self.error is None:
            return None
        return " ".join(str(self.error).split()) or type(self.error).__name__

    def settings(self, run: str, values: Mapping[str, Any]) -> None:
        """Send what a part of the run was started with, unless it was."""
        with self._guarded():
            part = self._part(run)
            if not part.sent.settings:
                self._opened(run).write_settings(values)
                part.sent.settings = True

    def take(self, reading: Reading, *, wait: bool) -> None:
        """Send numbers.

        Args:
            wait: they may be sent later, with others.
        """
        with self._guarded():
            part = self._part(reading.run)
            new = {
                name: value
                for name, value in reading.values.items()
                if reading.step > part.before.get(name, -1)
            }
            self.known += len(reading.values) - len(new)
            if new:
                part.waiting.append(Reading(reading.run, reading.step, new))
            if not wait or len(part.waiting) >= _MOST_WAITING:
                self._flush(reading.run)

    def close(self, *, failed: bool) -> None:
        """Send what waits, and end the parts that are open."""
        for run in list(self._parts):
            if self.error is None:
                with self._guarded():
                    self._flush(run)
        for _, part in sorted(self._parts.items(), reverse=True):  # the run itself after its parts
            if part.run is not None:
                with self._guarded():
                    part.run.close(failed=failed)
        with self._guarded():
            self._keep()

    def _part(self, run: str) -> _Part:
        if self._tracker is None:
            kind = TRACKERS[self.name]
            assert kind.package is not None
            self._tracker = kind.make(self._folder, kind.package)
            self._sent = read_sent(self._folder, self.name, self._tracker.place)
        if run not in self._parts:
            sent = self._sent.get(run, Sent())
            if sent.id and not self._tracker.has(run, sent.id):
                sent = Sent()  # it was removed there: everything is sent again
            self._sent[run] = sent
            self._parts[run] = _Part(sent, dict(sent.steps))
        return self._parts[run]

    def _opened(self, run: str) -> TrackedRun:
        if run:
            self._opened("")
        part = self._part(run)
        if part.run is None:
            assert self._tracker is not None
            part.run = self._tracker.open(run, part.sent.id or None)
            part.sent.id = part.run.id
        return part.run

    def _flush(self, run: str) -> None:
        part = self._part(run)
        if not part.waiting:
            return
        self._opened(run).write(part.waiting)
        for reading in part.waiting:
            self.sent += len(reading.values)
            for name in reading.values:
                part.sent.steps[name] = max(reading.step, part.sent.steps.get(name, -1))
        part.waiting.clear()
        self._keep()

    def _keep(self) -> None:
        if self._tracker is not None:
            sent = {run: one for run, one in self._sent.items() if one.id}
            write_sent(self._folder, self.name, self._tracker.place, sent)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Whatever a tracker does, the run goes on: its errors are a warning, and its last.

        What it prints goes to standard error, and its warnings nowhere.
        """
        try:
            with redirect_stdout(sys.stderr), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except Exception as error:  # noqa: BLE001 - somebody else's code, over a network
            first = self.error is None
            self.error = self.error or error
        else:
            return
        if first:
            folder = shlex.quote(str(self._folder))
            warnings.warn(
                f"{self.name} takes no more of this run, which goes on without it: {self.problem}; "
                f"`cuecard track {folder} --to {self.name}` sends the rest later",
                CuecardWarning,
                stacklevel=2,
            )
