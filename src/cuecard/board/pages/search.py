"""What a search shows: its candidates while it runs, then the prompt that it led to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from markupsafe import Markup

from cuecard.board.pages.details import Shown
from cuecard.board.records.files import (
    cached_json,
    cached_log,
    cached_settings,
    mapping_in,
    score_in,
    text_in,
)
from cuecard.board.records.index import FileCache, RunPlace
from cuecard.board.records.searches import (
    CandidateShown,
    cached_spent,
    candidates_shown,
    limits_shown,
    search_curves,
    search_progress,
)
from cuecard.board.view import drawn
from cuecard.evaluation.charts.intervals import Scored, interval_chart
from cuecard.evaluation.charts.shares import bar
from cuecard.runs.run_kinds import SEARCH
from cuecard.runs.search.judge import FILE as JUDGE_JOURNAL
from cuecard.search.budget import MICRO
from cuecard.search.candidate import AS_IT_WAS
from cuecard.search.journal import FILE as JOURNAL
from cuecard.search.journal import ModelSpent

_MOST = 100  # candidates on a page


@dataclass(frozen=True)
class SearchDetails:
    """Candidates by what they are worth, the budget, and the prompt beside the start."""

    cache: FileCache
    template: ClassVar[str] = "search.html"
    live_template: ClassVar[str] = "search_live.html"

    def live(self, place: RunPlace) -> Shown:
        """What the log and the journals tell so far."""
        events = cached_log(place, self.cache)
        report = cached_json(place, SEARCH.done, self.cache)
        settings, _ = cached_settings(place, self.cache)
        spent, seconds = cached_spent(place, JOURNAL, self.cache)
        judging, judged = cached_spent(place, JUDGE_JOURNAL, self.cache)
        candidates = candidates_shown(events, report)
        limits = limits_shown(text_in(settings, "budget"), spent, seconds)
        if judging:
            budget = text_in(settings, "judge", "budget")
            limits += limits_shown(budget, judging, judged, whose="judge: ")
        data = {
            "axis": "calls",
            "gain_over": "the prompt as it was",
            "progress": search_progress(events),
            "curves": [asdict(curve) for curve in search_curves(events)],
            "candidates": candidates,
            "spent": [*_spent(spent, ""), *_spent(judging, "judge: ")],
            "limits": limits,
        }
        pictures = [drawn(bar(each.share, f"{each.share:.0%} used")) for each in limits]
        more = {"bars": _bars(candidates), "limit_bars": pictures, "most": _MOST}
        return Shown(data, more)

    def whole(self, place: RunPlace) -> Shown:
        """The prompt, the start, and both on the test rows."""
        report = cached_json(place, SEARCH.done, self.cache)
        better = report.get("better") is True
        found = {
            "better": better,
            "template": text_in(report, "template"),
            "start_template": text_in(report, "start_template"),
            "ended": text_in(report, "ended"),
        }
        metric = text_in(report, "score")
        scores = [_tested(report, "start_test", metric, AS_IT_WAS, strong=False)]
        if better:
            scores.append(_tested(report, "test", metric, "found", strong=True))
        known = [each for each in scores if each is not None]
        chart = drawn(interval_chart(known, metric)) if known else None
        return Shown({"found": found if report else None}, {"tested": chart})


def _tested(
    report: Mapping[str, Any], key: str, metric: str, name: str, *, strong: bool
) -> Scored | None:
    score, interval = score_in(mapping_in(report, key), metric)
    return None if score is None else Scored(name, score, interval, strong)


def _spent(models: Mapping[str, ModelSpent], whose: str) -> list[dict[str, Any]]:
    """A row for each model."""
    return [
        {
            "model": f"{whose}{name}",
            "answered": one.answered,
            "failed": one.failed,
            "open": one.open,
            "calls": one.spent.calls,
            "tokens": one.spent.tokens,
            "dollars": one.spent.money / MICRO,
        }
        for name, one in models.items()
    ]


def _bars(candidates: Sequence[CandidateShown]) -> list[Markup | str]:
    return [
        drawn(bar(each.score, f"{each.score:.3f}")) if 0.0 <= each.score <= 1.0 else ""
        for each in candidates[:_MOST]
    ]
