"""A search for words, also while it runs: candidates, what they are worth, what was spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from cuecard.board.records.curves import Curve
from cuecard.board.records.files import number, text_in, whole
from cuecard.board.records.index import FileCache, RunPlace
from cuecard.errors import CuecardError
from cuecard.search.budget import MICRO, Amount, SearchBudget
from cuecard.search.candidate import AS_IT_WAS
from cuecard.search.journal import ModelSpent, spent_by_model


@dataclass(frozen=True)
class CandidateShown:
    """A candidate in a line.

    Attributes:
        origin: how it came to be.
        score, rows: on so many training rows.
        validation: None for one that was no finalist.
        calls: that were spent when it was scored; None where the log does not say.
        text, beside: its words, and what it has beside them; empty where the log has none.
        kept: whether it is what the search led to.
    """

    origin: str
    score: float
    rows: int
    validation: float | None = None
    calls: int | None = None
    text: str = ""
    beside: str = ""
    kept: bool = False


@dataclass(frozen=True)
class LimitShown:
    """How much of a limit is used.

    Attributes:
        name: "calls", "tokens", "money" or "time".
        used, most: with their units.
        share: from 0 to 1.
    """

    name: str
    used: str
    most: str
    share: float


def candidates_shown(
    events: Sequence[Mapping[str, Any]], report: Mapping[str, Any]
) -> list[CandidateShown]:
    """The best first: those that ran to the end before those that dropped out.

    Args:
        events: of the log.
        report: the search's; what earlier versions did not log is taken from it.
    """
    validated = {e.get("key"): number(e.get("validation")) for e in events if e["event"] == "final"}
    start = next((e for e in events if e["event"] == "start"), {})
    kept = next((e.get("key") for e in events if e["event"] == "kept"), None)
    found = []
    for event in events:
        if event["event"] == "scored" and number(event.get("score")) is not None:
            first = event.get("origin") == AS_IT_WAS
            at = number(start.get("validation")) if first else validated.get(event.get("key"))
            same = kept is not None and event.get("key") == kept
            found.append(_candidate(event, validation=at, kept=same))
    listed = report.get("candidates")
    if not found and isinstance(listed, list):
        found = [_candidate(each) for each in listed if isinstance(each, Mapping)]
    return sorted(found, key=lambda each: (-each.rows, -each.score))


def _candidate(values: Mapping[str, Any], **more: Any) -> CandidateShown:
    return CandidateShown(
        origin=text_in(values, "origin"),
        score=number(values.get("score")) or 0.0,
        rows=whole(values.get("rows")) or 0,
        calls=whole(values.get("calls")),
        text=text_in(values, "text"),
        beside=text_in(values, "beside"),
        **more,
    )


def search_curves(events: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """The candidates' scores over the calls that were spent, and the best so far."""
    scored = [e for e in events if e["event"] == "scored" and whole(e.get("calls")) is not None]
    scored.sort(key=lambda event: event["calls"])
    points: dict[int, float] = {}
    best: dict[int, float] = {}
    ahead, before = (-1, 0.0), 0
    for calls, several in groupby(scored, key=lambda event: event["calls"]):
        group = list(several)
        for place, event in enumerate(group, 1):
            # Those of a race are scored at once, and drawn beside each other.
            at = before + round((calls - before) * place / len(group))
            score = number(event.get("score")) or 0.0
            points[at] = score
            ahead = max(ahead, (whole(event.get("rows")) or 0, score))
            best[at] = ahead[1]
        before = calls
    named = (("candidate", "candidate", points), ("best", "best so far", best))
    return [Curve(key, name, tuple(own), tuple(own.values())) for key, name, own in named if own]


def search_progress(events: Sequence[Mapping[str, Any]]) -> str:
    """How far a search is, in a line."""
    last = next((e for e in reversed(events) if e["event"] in _TOLD), None)
    return "begins" if last is None else _TOLD[last["event"]].format_map(_Known(last))


class _Known(dict[str, Any]):
    """An event's values as text; what it lacks is a question mark."""

    def __missing__(self, key: str) -> str:
        return "?"


_TOLD = {
    "start": "the prompt as it is answers",
    "scored": "{calls} calls; last: {origin}",
    "round": "round {round}, {calls} calls; best: {origin}",
    "final": "comparing finalists on validation rows",
    "kept": "finished",
}


def cached_spent(
    place: RunPlace, name: str, cache: FileCache
) -> tuple[Mapping[str, ModelSpent], float]:
    """What each model took by a journal, and the seconds of it; nothing without one."""

    def read() -> tuple[Mapping[str, ModelSpent], float]:
        try:
            return spent_by_model(place.folder / name)
        except OSError:
            return {}, 0.0

    stamp = place.stamp(name)
    return ({}, 0.0) if stamp is None else cache.get(place, f"spent {name}", stamp, read)


def limits_shown(
    budget: str, spent: Mapping[str, ModelSpent], seconds: float, whose: str = ""
) -> list[LimitShown]:
    """How much of each limit of a budget is used; none where it cannot be read."""
    try:
        limits = SearchBudget.parse(budget)
    except CuecardError:
        return []
    used = sum((each.spent for each in spent.values()), Amount())
    told = {
        "calls": (used.calls, f"{used.calls:,}", limits.calls),
        "tokens": (used.tokens, f"{used.tokens:,}", limits.tokens),
        "money": (used.money, f"${used.money / MICRO:.4f}", limits.money),
        "time": (seconds, f"{seconds:,.0f} s", limits.seconds),
    }
    return [
        LimitShown(f"{whose}{name}", text, limits.text(name), min(1.0, value / most))
        for name, (value, text, most) in told.items()
        if most
    ]
