"""What a run's log tells over its steps: losses and scores, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cuecard.board.records.files import number

_MOST_POINTS = 800
# A key of the log's events -> what it is called. The first two share an axis.
_SERIES = {
    "loss": "training loss",
    "validation_loss": "validation loss",
    "validation_accuracy": "validation score",
}


@dataclass(frozen=True)
class Curve:
    """Numbers over steps, the steps rising.

    Attributes:
        key: in the log's events.
        name: what it is called.
    """

    key: str
    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


def curves_of(events: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """The curves that have points, thinned where a screen has no room for more."""
    found = []
    for key, name in _SERIES.items():
        points: dict[int, float] = {}
        for event in events:
            step, value = event.get("step"), number(event.get(key))
            if isinstance(step, int) and value is not None:
                points[step] = value
        kept = thinned(sorted(points.items()))
        if kept:
            found.append(Curve(key, name, *map(tuple, zip(*kept, strict=True))))
    return found


def thinned(
    points: Sequence[tuple[int, float]], most: int = _MOST_POINTS
) -> list[tuple[int, float]]:
    """At most so many of the points, evenly, with the first and the last."""
    if len(points) <= most:
        return list(points)
    places = [round(number * (len(points) - 1) / (most - 1)) for number in range(most)]
    return [points[place] for place in places]


def progress_of(events: Sequence[Mapping[str, Any]]) -> str:
    """What the last events tell, in a line."""
    if not events:
        return "nothing is logged yet"
    last = events[-1]
    name, step = str(last["event"]), last.get("step")
    steps = next((e.get("steps") for e in events if e["event"] == "start"), None)
    if name in ("step", "validation") and step is not None:
        of = "" if steps is None else f" of {steps}"
        loss = next((number(e.get("loss")) for e in reversed(events) if "loss" in e), None)
        return f"step {step}{of}" + ("" if loss is None else f", loss {loss:.4f}")
    return _TOLD.get(name, name)


_TOLD = {
    "start": "set up",
    "test": "answering the test rows",
    "done": "finished",
    "best_validation": "validating the best step",
}
