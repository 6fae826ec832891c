"""What a run led to, in the file that its kind of run leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from cuecard.board.records.files import (
    cached_json,
    cached_report,
    interval_of,
    mapping_in,
    number,
    score_in,
    text_in,
    whole,
)
from cuecard.board.records.index import FileCache, RunPlace
from cuecard.comparison.contest.standing import FILE as CONTESTANT
from cuecard.runs.run_kinds import COMPARE, SEARCH, RunKind
from cuecard.types import Interval
from cuecard.validation_text import counted


@dataclass(frozen=True)
class RunOutcome:
    """What a run led to.

    Attributes:
        model, method: what was trained or asked, and how; empty where the file does not say.
        metric, score, interval: on the test rows; no score where none were asked.
        gain, gain_interval: over the best of all it was compared with.
        steps: of the training.
    """

    model: str = ""
    method: str = ""
    metric: str = ""
    score: float | None = None
    interval: Interval | None = None
    gain: float | None = None
    gain_interval: Interval | None = None
    steps: int | None = None


def outcome_of(place: RunPlace, cache: FileCache) -> RunOutcome | None:
    """What a run led to; None while it led to nothing."""
    if place.kind is None and CONTESTANT in place.files:
        return _of_contestant(place, cache)
    read = _of_report if place.kind is None else _READERS.get(place.kind, _of_report)
    return read(place, cache)


def _of_report(place: RunPlace, cache: FileCache) -> RunOutcome | None:
    proof = cached_report(place, cache)
    if proof is None:
        return None
    facts = proof.report
    found = RunOutcome(
        model=text_in(facts, "backbone"),
        method=proof.rows[-1].prompt.removeprefix("trained: ") if proof.rows else "",
        gain=number(facts.get("gain_best")),
        gain_interval=interval_of(facts.get("gain_best_ci95")),
        steps=whole(facts.get("steps")),
    )
    prompt, metric = facts.get("prompt"), facts.get("metric")
    if not isinstance(prompt, Mapping) or not isinstance(metric, str):
        return found
    score, interval = number(prompt.get(metric)), interval_of(prompt.get("ci95"))
    return replace(found, metric=metric, score=score, interval=interval)


def _of_comparison(place: RunPlace, cache: FileCache) -> RunOutcome | None:
    """Of all contestants the one that did best on validation rows."""
    report = cached_json(place, COMPARE.done, cache)
    contests = report.get("contests")
    if not isinstance(contests, list) or not contests:
        return None
    listed = mapping_in(contests[-1], "contestants").values()
    found = [each for each in listed if isinstance(each, Mapping)]
    best = max(found, key=lambda each: number(each.get("validation")) or 0.0, default={})
    return RunOutcome(
        model=text_in(report, "backbone"),
        method=f"{text_in(best, 'title')}, best of {len(found)}",
        metric=text_in(report, "metric"),
        score=number(best.get("score")),
        interval=interval_of(best.get("ci95")),
    )


def _of_contestant(place: RunPlace, cache: FileCache) -> RunOutcome:
    standing = cached_json(place, CONTESTANT, cache)
    tested = mapping_in(standing, "test")
    return RunOutcome(
        method=text_in(standing, "title"),
        metric=text_in(tested, "metric"),
        score=number(tested.get("score")),
        interval=interval_of(tested.get("ci95")),
    )


def _of_search(place: RunPlace, cache: FileCache) -> RunOutcome | None:
    """The prompt that was kept, over the one that was to be improved."""
    report = cached_json(place, SEARCH.done, cache)
    if not report:
        return None
    metric, gain = text_in(report, "score"), mapping_in(report, "gain")
    score, interval = score_in(mapping_in(report, "test"), metric)
    finals = report.get("validation")
    told = counted(len(finals), "finalist") if isinstance(finals, list) else ""
    return RunOutcome(
        method=f"{text_in(report, 'searcher')}, {told}" if told else text_in(report, "searcher"),
        metric=metric,
        score=score,
        interval=interval,
        gain=number(gain.get("value")),
        gain_interval=interval_of(gain.get("ci95")),
    )


_READERS: Mapping[RunKind, Callable[[RunPlace, FileCache], RunOutcome | None]] = {
    COMPARE: _of_comparison,
    SEARCH: _of_search,
}
