"""A run that is tracked while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from cuecard.settings import flat
from cuecard.tracking.readings import part_of, reading, settings
from cuecard.tracking.sender import Sender
from cuecard.tracking.trackers import TrackerName, check_installed
from cuecard.training.storage.log import Observer

P = ParamSpec("P")
R = TypeVar("R")


class Tracking:
    """Sends a run's events to trackers: `with Tracking(...) as tracking: train(..., observer=...)`.

    Nothing is sent before the first event, and a tracker that fails stops nothing.

    Args:
        names: of the trackers.
        folder: the run's.
        settings: what is kept beside the numbers; what the run says of itself is added.
        observer: is called with every event, too.

    Raises:
        ConfigError: a tracker's package is not installed.
    """

    def __init__(
        self,
        names: Sequence[TrackerName],
        folder: str | Path,
        *,
        settings: Mapping[str, Any] | None = None,
        observer: Observer | None = None,
    ) -> None:
        check_installed(names)
        self.senders = [Sender(name, Path(folder)) for name in dict.fromkeys(names)]
        self._settings, self._observer = dict(flat(settings or {})), observer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for sender in self.senders:
            sender.close(failed=error is not None)

    def __call__(self, event: dict[str, Any]) -> None:
        """Take one event."""
        if self._observer is not None:
            self._observer(event)
        self.take(event)

    def take(self, event: Mapping[str, Any], run: str | None = None) -> None:
        """Send what an event says.

        Args:
            run: the part of the run, where the event is from a part's own log.
        """
        said = settings(event)
        if said is not None:
            part = part_of(event) if run is None else run
            for sender in self._working:
                sender.settings(part, said if part else {**self._settings, **said})
        found = reading(event, run)
        if found is not None:
            for sender in self._working:
                sender.take(found, wait=event["event"] == "step")

    @property
    def _working(self) -> list[Sender]:
        return [sender for sender in self.senders if sender.error is None]


def with_trackers(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function of a recipe and an `observer` report to the recipe's `report_to`.

    Raises:
        ConfigError: a tracker's package is not installed; nothing was done.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        plan: Any = args[0]
        if not plan.report_to:
            return function(*args, **kwargs)
        said, observer = plan.model_dump(mode="json"), kwargs.get("observer")
        with Tracking(plan.report_to, plan.folder, settings=said, observer=observer) as tracking:  # type: ignore[arg-type]
            kwargs["observer"] = tracking
            return function(*args, **kwargs)

    return call
