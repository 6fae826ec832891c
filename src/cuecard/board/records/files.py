"""A run's files, each read once as long as it stays what it is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from cuecard.board.records.index import FileCache, RunPlace
from cuecard.comparison.comparison import Proof
from cuecard.comparison.reports import FILE as REPORT
from cuecard.comparison.reports import read_report
from cuecard.errors import CuecardError
from cuecard.runs.recipe_file import read_yaml
from cuecard.training.storage.log import FILE as LOG
from cuecard.training.storage.log import read_log
from cuecard.types import Interval

# Where a run that chooses among others keeps the chosen one.
_CHOSEN = "best"


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


def cached_json(place: RunPlace, name: str, cache: FileCache) -> Mapping[str, Any]:
    """A file's object; empty where there is none, or it cannot be read."""

    def read() -> Mapping[str, Any]:
        try:
            found = json.loads((place.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    return cache.get(place, name, place.stamp(name), read)


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


def whole(value: object) -> int | None:
    """A whole number, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text_in(values: Any, *keys: str) -> str:
    """A text within mappings; empty where there is none."""
    found = _within(values, keys)
    return found if isinstance(found, str) else ""


def mapping_in(values: Any, *keys: str) -> Mapping[str, Any]:
    """A mapping within mappings; empty where there is none."""
    found = _within(values, keys)
    return found if isinstance(found, Mapping) else {}


def score_in(test: Mapping[str, Any], metric: str) -> tuple[float | None, Interval | None]:
    """A score and its interval of an evaluation as a report's JSON has it."""
    interval = mapping_in(test, "ci95").get(metric)
    return number(mapping_in(test, "metrics").get(metric)), interval_of(interval)


def _within(values: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values
