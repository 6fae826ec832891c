"""A run in a line: what was trained on what, how far it is, and what it scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cuecard.board.records.index import FileCache, RunPlace
from cuecard.comparison.comparison import Proof
from cuecard.comparison.reports import FILE as REPORT
from cuecard.comparison.reports import read_report
from cuecard.errors import CuecardError
from cuecard.runs.recipe_file import read_yaml
from cuecard.runs.run_kinds import RUN
from cuecard.search.journal import FILE as JOURNAL
from cuecard.training.storage.log import FILE as LOG
from cuecard.training.storage.log import read_log
from cuecard.types import Interval

State = Literal["running", "finished", "stopped", "new"]
# Where a run that chooses among others keeps the chosen one.
_CHOSEN = "best"


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
    """A run's summary, from its settings, its log and its report."""
    settings, problem = cached_settings(place, cache)
    proof = cached_report(place, cache)
    events = () if proof is not None else cached_log(place, cache)
    recipe = recipe_in(settings)
    facts = {} if proof is None else proof.report
    start = _first(events, "start")
    metric, score, interval = _score(facts)
    return RunSummary(
        slug=place.slug,
        name=place.name,
        kind="part" if place.kind is None else place.kind.name,
        state=state_of(place),
        data=_text(recipe, "data", "path"),
        model=str(facts.get("backbone") or start.get("backbone") or _text(recipe, "backbone")),
        method=_method(proof, start, recipe),
        metric=metric,
        score=score,
        interval=interval,
        gain=number(facts.get("gain_best")),
        gain_interval=interval_of(facts.get("gain_best_ci95")),
        step=_last_step(events, facts),
        steps=_whole(start.get("steps") or facts.get("steps")),
        changed=place.changed,
        problem=problem,
    )


def state_of(place: RunPlace) -> State:
    """How far a run is."""
    if place.used:
        return "running"
    done = RUN.done if place.kind is None else place.kind.done
    if done in place.files or ("/" in done and (place.folder / done).exists()):
        return "finished"
    return "stopped" if LOG in place.files or JOURNAL in place.files else "new"


def cached_settings(place: RunPlace, cache: FileCache) -> tuple[Mapping[str, Any], str]:
    """A run's settings as its file has them, and what keeps them from being read."""
    kind = place.kind
    if kind is None:
        return {}, ""

    def read() -> tuple[Mapping[str, Any], str]:
        try:
            return read_yaml(place.folder / kind.file, ()), ""
        except CuecardError as error:
            return {}, f"{error.what}: {error.got}" if error.got else error.what

    return cache.get(place, "settings", place.stamp(kind.file), read)


def recipe_in(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of a training: the run's own, or those that a sweep's hold."""
    recipe: Mapping[str, Any] = settings.get("recipe", settings)
    return recipe


def cached_report(place: RunPlace, cache: FileCache) -> Proof | None:
    """A run's report, or that of the run that it chose; None while there is none."""
    for inner in ("", f"{_CHOSEN}/"):
        stamp = place.stamp(f"{inner}{REPORT}")
        if stamp is not None:
            folder = place.folder / inner
            return cache.get(place, f"{inner}report", stamp, lambda: read_report(folder))  # noqa: B023
        if _CHOSEN not in place.files:
            return None
    return None


def cached_log(place: RunPlace, cache: FileCache) -> list[dict[str, Any]]:
    """A run's events, those that are whole; a line that is no event is left out."""

    def read() -> list[dict[str, Any]]:
        try:
            rows: list[Any] = read_log(place.folder)
        except OSError:
            return []
        return [row for row in rows if isinstance(row, dict) and "event" in row]

    return cache.get(place, "log", place.stamp(LOG), read)


def number(value: object) -> float | None:
    """A finite number, or None."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def interval_of(value: object) -> Interval | None:
    """An interval as a report's JSON has it."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    low, high = map(number, value)
    return None if low is None or high is None else Interval(low, high)


def _score(facts: Mapping[str, Any]) -> tuple[str, float | None, Interval | None]:
    prompt, metric = facts.get("prompt"), facts.get("metric")
    if not isinstance(prompt, Mapping) or not isinstance(metric, str):
        return "", None, None
    return metric, number(prompt.get(metric)), interval_of(prompt.get("ci95"))


def _method(proof: Proof | None, start: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """What was trained: after a race, the method that won it."""
    if proof is not None and proof.rows:
        return proof.rows[-1].prompt.removeprefix("trained: ")
    return str(start.get("method") or _text(recipe, "method", "name"))


def _text(values: Any, *keys: str) -> str:
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values if isinstance(values, str) else ""


def _first(events: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return next((event for event in events if event["event"] == name), {})


def _last_step(events: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> int | None:
    steps = [step for event in events if (step := _whole(event.get("step"))) is not None]
    return max(steps, default=_whole(facts.get("steps")))


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
