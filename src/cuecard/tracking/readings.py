"""What an event of a run's log says in numbers, and what it says of the run's settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cuecard.settings import flat

Event = Mapping[str, Any]

# Event -> what its numbers are called after; those of other events are for people alone.
_PREFIXES = {
    "step": "train",
    "validation": "validation",
    "teacher_validation": "validation",
    "tasks": "validation",
    "best_validation": "best",
    "pooled": "pooled",
    "raced": "race/{contestant}",
    "trial_done": "trial",
    "round": "round",
    "kept": "final",
    "done": "final",
}
# Where an event keeps its place on the axis, the first that it has.
_STEPS = ("step", "round", "steps")
_NO_NUMBERS = {*_STEPS, "event", "trial"}
_NO_SETTINGS = {"event", "notes", "trial", "task", "run"}


@dataclass(frozen=True, slots=True)
class Reading:
    """Numbers of one moment.

    Attributes:
        run: the part of the run that they are of, such as trials/003; empty for the run itself.
        step: its place on the axis of all curves.
        values: by name.
    """

    run: str
    step: int
    values: Mapping[str, float]


def reading(event: Event, run: str | None = None) -> Reading | None:
    """An event's numbers; None for one that has none to be drawn.

    Args:
        run: the part of the run, where the event is from a part's own log.
    """
    prefix = _PREFIXES.get(event["event"])
    if prefix is None:
        return None
    front = prefix.format_map(event)
    named = {k: v for k, v in event.items() if k not in _NO_NUMBERS}
    values = {
        f"{front}/{key.removeprefix('validation_')}": float(value)
        for key, value in flat(named, "/")
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
    step = next((event[key] for key in _STEPS if key in event), 0)
    return Reading(part_of(event) if run is None else run, step, values) if values else None


def settings(event: Event) -> dict[str, Any] | None:
    """What a run's first event says of its settings, by dotted names; None for other events."""
    if event["event"] != "start":
        return None
    return dict(flat({k: v for k, v in event.items() if k not in _NO_SETTINGS}))


def part_of(event: Event) -> str:
    """The part of the run that an event is of, as its folder in the run's is called."""
    if "run" in event:
        return str(event["run"])
    if "trial" in event:
        return f"trials/{event['trial']:03d}"
    return f"tasks/{event['task']}" if "task" in event else ""
