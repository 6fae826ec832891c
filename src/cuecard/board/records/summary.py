"""A run in a line: what was trained on what, how far it is, and what it scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cuecard.board.records.files import (
    cached_log,
    cached_settings,
    mapping_in,
    recipe_in,
    text_in,
    whole,
)
from cuecard.board.records.index import FileCache, RunPlace
from cuecard.board.records.outcomes import RunOutcome, outcome_of
from cuecard.comparison.contest.standing import FILE as CONTESTANT
from cuecard.runs.run_kinds import COMPARE, RUN, SEARCH, RunKind
from cuecard.search.journal import FILE as JOURNAL
from cuecard.training.storage.log import FILE as LOG
from cuecard.types import Interval
from cuecard.validation_text import counted

State = Literal["running", "finished", "stopped", "new"]
_NOTHING = RunOutcome()


@dataclass(frozen=True)
class RunSummary:
    """A run in a line.

    Attributes:
        kind: what it is called, such as "sweep"; "part" for a part of another one.
        state: new has no log yet, stopped resumes.
        data, model, method: as its settings name them; empty where they do not say.
        metric, score, interval: on the test rows; None before there is a score.
        gain, gain_interval: over the best of all it was compared with.
        step, steps: how far the training is, and how far it goes at most.
        changed: when its log was last written; seconds since 1970.
        problem: what keeps its files from being read; empty if nothing does.
    """

    slug: str
    name: str
    kind: str
    state: State
    data: str
    model: str
    method: str
    metric: str
    score: float | None
    interval: Interval | None
    gain: float | None
    gain_interval: Interval | None
    step: int | None
    steps: int | None
    changed: float
    problem: str = ""


def summarise(place: RunPlace, cache: FileCache) -> RunSummary:
    """A run's summary, from its settings, its log and what it led to."""
    settings, problem = cached_settings(place, cache)
    found = outcome_of(place, cache)
    events = () if found is not None else cached_log(place, cache)
    outcome, start = found or _NOTHING, _first(events, "start")
    return RunSummary(
        slug=place.slug,
        name=place.name,
        kind="part" if place.kind is None else place.kind.name,
        state=state_of(place),
        data=text_in(recipe_in(settings), "data", "path"),
        model=outcome.model or str(start.get("backbone") or _model(settings)),
        method=outcome.method or str(start.get("method") or _method(place.kind, settings)),
        metric=outcome.metric,
        score=outcome.score,
        interval=outcome.interval,
        gain=outcome.gain,
        gain_interval=outcome.gain_interval,
        step=_last_step(events, outcome.steps),
        steps=whole(start.get("steps")) or outcome.steps,
        changed=place.changed,
        problem=problem,
    )


def state_of(place: RunPlace) -> State:
    """How far a run is."""
    if place.used:
        return "running"
    if place.kind is None:
        done: tuple[str, ...] = (RUN.done, CONTESTANT)
    else:
        done = (place.kind.done,)
    if any(place.stamp(name) is not None for name in done):
        return "finished"
    kept = () if place.kind is None else place.kind.results
    return "stopped" if any(name in place.files for name in (LOG, JOURNAL, *kept)) else "new"


def _model(settings: Mapping[str, Any]) -> str:
    """What answers, as the settings name it."""
    return text_in(settings, "solver", "model") or text_in(recipe_in(settings), "backbone")


def _method(kind: RunKind | None, settings: Mapping[str, Any]) -> str:
    """How it is done, as the settings name it."""
    named = None if kind is None else _METHODS.get(kind)
    return text_in(recipe_in(settings), "method", "name") if named is None else named(settings)


def _contestants(settings: Mapping[str, Any]) -> str:
    names = mapping_in(settings, "contest").get("contestants")
    return counted(len(names), "contestant") if isinstance(names, list) else ""


# What stands for the method where a prompt's is not what the run is about.
_METHODS: Mapping[RunKind, Callable[[Mapping[str, Any]], str]] = {
    COMPARE: _contestants,
    SEARCH: lambda settings: text_in(settings, "searcher"),
}


def _first(events: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return next((event for event in events if event["event"] == name), {})


def _last_step(events: Sequence[Mapping[str, Any]], steps: int | None) -> int | None:
    found = [step for event in events if (step := whole(event.get("step"))) is not None]
    return max(found, default=steps)
