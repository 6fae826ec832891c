"""A run's progress: smoothed loss, steps per second, time left, validation scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from cuecard.cli.views.event_text import duration

_KEEP = 0.9


class Pace:
    """Numbers that grow with a run's events.

    Args:
        clock: seconds from anywhere.

    Attributes:
        step: the last step.
        total: the steps of the whole run; None where no event says.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.step = 0
        self.total: int | None = None
        self._since = 0.0
        self._steps = 0
        self._loss = 0.0
        self._score = self._best = ""

    def update(self, event: Mapping[str, Any]) -> None:
        """Take in one event of the run's log."""
        kind = event["event"]
        if kind in ("start", "resume"):
            self.total, self.step = event["steps"], event.get("step", 0)
        elif kind == "step":
            if self._steps == 0:
                self._since = self._clock() - event["seconds"]
            self.step = event["step"]
            self._steps += 1
            self._loss = _KEEP * self._loss + (1 - _KEEP) * event["loss"]
        elif kind == "validation":
            self._see(event)

    def _see(self, event: Mapping[str, Any]) -> None:
        accuracy, loss = event["validation_accuracy"], event["validation_loss"]
        score = f"loss {loss:.3f}" if accuracy is None else f"{accuracy:.3f}"
        if event["best"]:
            self._best, self._score = score, f"{score} *"
        else:
            # On resuming the best one may be of an earlier sitting.
            self._score = f"{score}, {self._best} *" if self._best else score

    @property
    def loss(self) -> str:
        """The training loss, smoothed over some ten steps."""
        if self._steps == 0:
            return "-"
        # Without the division the first values would lean towards zero.
        return f"{self._loss / (1 - _KEEP**self._steps):.3f}"

    @property
    def score(self) -> str:
        """The last validation score; * is the best one's mark."""
        return self._score or "-"

    @property
    def rate(self) -> float:
        """Steps per second in this sitting, validations included."""
        return self._steps / max(self._clock() - self._since, 1e-9) if self._steps else 0.0

    @property
    def left(self) -> str:
        """The time that the other steps will take."""
        if self.total is None or self._steps == 0:
            return "-"
        return duration((self.total - self.step) / self.rate)

    def __str__(self) -> str:
        of = "" if self.total is None else f"/{self.total:,}"
        return (
            f"Step {self.step:,}{of}: loss {self.loss}, {self.rate:.2f} steps/s, {self.left} left"
        )
