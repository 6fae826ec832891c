"""The contestants of a comparison, also while it runs: who is finished, who works, who waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cuecard.board.records.curves import progress_of
from cuecard.board.records.files import (
    cached_json,
    cached_log,
    cached_settings,
    interval_of,
    mapping_in,
    number,
    text_in,
)
from cuecard.board.records.index import FileCache, RunIndex, RunPlace
from cuecard.comparison.contest.contenders import CONTENDERS
from cuecard.comparison.contest.standing import FILE as CONTESTANT
from cuecard.evaluation.charts.intervals import Scored
from cuecard.runs.run_kinds import COMPARE
from cuecard.training.storage.log import FILE as LOG
from cuecard.training.storage.result import PREDICTIONS
from cuecard.types import Interval

_CONTESTS = COMPARE.results[0]
_ALL = "all-rows"


@dataclass(frozen=True)
class ContestantShown:
    """A contestant in a line.

    Attributes:
        name, title: in `--contestants`, and in tables.
        state: left out is one that the backbone or the task cannot do.
        told: how far it is, or why it was left out.
        untrained: whether it asks the frozen backbone in words alone.
        validation: what it was chosen by; None where nothing was chosen.
        score, interval: on the test rows.
        slug: of its answers; empty where it has none.
    """

    name: str
    title: str
    state: Literal["finished", "left out", "running", "waiting"]
    told: str = ""
    untrained: bool = False
    validation: float | None = None
    score: float | None = None
    interval: Interval | None = None
    cpu_seconds: float | None = None
    slug: str = ""


@dataclass(frozen=True)
class ContestShown:
    """The contestants on so many rows.

    Attributes:
        name: its folder's, such as "16-rows".
    """

    name: str
    contestants: tuple[ContestantShown, ...]

    @property
    def scores(self) -> list[Scored]:
        """Of those that are finished; the others are seen against the best in words."""
        found = [each for each in self.contestants if each.score is not None]
        asked = [each for each in found if each.untrained]
        best = max(asked, key=lambda each: each.validation or 0.0, default=None)
        return [Scored(e.title, e.score or 0.0, e.interval, strong=e is best) for e in found]


def contests_shown(place: RunPlace, index: RunIndex, cache: FileCache) -> list[ContestShown]:
    """A comparison's contests, fewest rows first; those not yet begun only while it runs."""
    parts = {part.name: part for part in index.parts(place)}
    settings, _ = cached_settings(place, cache)
    wanted = mapping_in(settings, "contest")
    found, works, order = [], place.used, _list(wanted, "contestants")
    for name in (*(f"{rows}-rows" for rows in _list(wanted, "rows")), _ALL):
        below = f"{place.name}/{_CONTESTS}/{name}"
        names = [one for one in CONTENDERS if one in order or f"{below}/{one}" in parts]
        shown = {
            one: _waiting(one) if part is None else _known(one, part, cache)
            for one in names
            for part in (parts.get(f"{below}/{one}"),)
        }
        waiting = [one for one in order if one in shown and shown[one].state == "waiting"]
        if works and waiting:
            works = False  # one after the other
            shown[waiting[0]] = _working(waiting[0], f"{below}/{waiting[0]}/", parts, cache)
        if place.used or any(each.state != "waiting" for each in shown.values()):
            found.append(ContestShown(name, tuple(shown.values())))
    return found


def _list(values: Mapping[str, Any], key: str) -> Sequence[Any]:
    found = values.get(key)
    return found if isinstance(found, list) else ()


def _waiting(name: str) -> ContestantShown:
    return ContestantShown(name, CONTENDERS[name].title, "waiting")


def _working(
    name: str, below: str, parts: Mapping[str, RunPlace], cache: FileCache
) -> ContestantShown:
    """One that is at work; where it is trained, with how far its newest run is."""
    own = [part for at, part in parts.items() if at.startswith(below) and LOG in part.files]
    newest = max(own, key=lambda part: part.changed, default=None)
    told = ""
    if newest is not None:
        told = f"{newest.name.removeprefix(below)}: {progress_of(cached_log(newest, cache))}"
    return ContestantShown(name, CONTENDERS[name].title, "running", told)


def _known(name: str, part: RunPlace, cache: FileCache) -> ContestantShown:
    standing = cached_json(part, CONTESTANT, cache)
    title = text_in(standing, "title") or CONTENDERS[name].title
    if not standing:
        return _waiting(name)
    if standing.get("test") is None:
        return ContestantShown(name, title, "left out", text_in(standing, "left_out"))
    test = mapping_in(standing, "test")
    return ContestantShown(
        name=name,
        title=title,
        state="finished",
        untrained=standing.get("untrained") is True,
        validation=number(standing.get("score")),
        score=number(test.get("score")),
        interval=interval_of(test.get("ci95")),
        cpu_seconds=number(standing.get("cpu_seconds")),
        slug=part.slug if PREDICTIONS in part.files else "",
    )
