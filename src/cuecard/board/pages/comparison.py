"""What a comparison shows: its contestants while they run, then its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from markupsafe import Markup

from cuecard.board.pages.details import Shown
from cuecard.board.records.contests import ContestShown, contests_shown
from cuecard.board.records.files import cached_json
from cuecard.board.records.index import FileCache, RunIndex, RunPlace
from cuecard.board.view import drawn
from cuecard.comparison.contest.pages import ReportSection
from cuecard.comparison.contest.report import report_sections
from cuecard.evaluation.charts.intervals import interval_bar, interval_chart
from cuecard.runs.run_kinds import COMPARE


@dataclass(frozen=True)
class ComparisonDetails:
    """The contestants, and the sections of the report as `compare.html` has them."""

    index: RunIndex
    cache: FileCache
    template: ClassVar[str] = "comparison.html"
    live_template: ClassVar[str] = "comparison_live.html"

    def live(self, place: RunPlace) -> Shown:
        """Who is finished, with which score, who works, who waits."""
        contests = contests_shown(place, self.index, self.cache)
        charts = {
            each.name: drawn(interval_chart(each.scores, "score"))
            for each in contests
            if each.scores and place.used
        }
        return Shown({"contests": contests}, {"progress_charts": charts, "bars": _bars(contests)})

    def whole(self, place: RunPlace) -> Shown:
        """The report; nothing while there is none."""
        report = cached_json(place, COMPARE.done, self.cache)
        stamp = place.stamp(COMPARE.done)
        sections, broken = self.cache.get(place, "sections", stamp, lambda: _sections(report))
        figures = [
            [(name, drawn(svg)) for name, svg in section.figures.items()] for section in sections
        ]
        shown = [
            {"title": s.title, "columns": s.columns, "rows": s.rows, "notes": s.notes}
            for s in sections
        ]
        return Shown({"sections": shown, "broken_report": broken}, {"figures": figures})


def _sections(report: Mapping[str, Any]) -> tuple[Sequence[ReportSection], str]:
    """The report's sections, and what keeps them from being shown."""
    if not report:
        return (), ""
    try:
        return report_sections(report), ""
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        return (), f"{COMPARE.done} is not a report of this version: {error!r}"


def _bars(contests: Sequence[ContestShown]) -> dict[tuple[str, str], Markup]:
    """Scores between 0 and 1 as small pictures."""
    return {
        (contest.name, each.name): drawn(interval_bar(each.score, each.interval))
        for contest in contests
        for each in contest.contestants
        if each.score is not None and 0.0 <= each.score <= 1.0
    }
