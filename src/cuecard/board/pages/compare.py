"""Runs beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response

from cuecard.board.records.cases import cached_cases, paged
from cuecard.board.records.curves import Curve, curves_of
from cuecard.board.records.files import cached_log, cached_settings, recipe_in
from cuecard.board.records.index import FileCache, RunIndex, RunPlace
from cuecard.board.records.pairing import Joined, difference, different_settings, joined
from cuecard.board.records.summary import RunSummary, summarise
from cuecard.board.view import Pages, drawn
from cuecard.errors import ConfigError
from cuecard.evaluation.charts.intervals import Scored, interval_chart

Kept = Literal["all", "differ", "regressed", "fixed", "failing", "unchanged"]
MOST_RUNS = 8
_CURVES = ("validation_loss", "validation_accuracy")


@dataclass(frozen=True)
class ComparePage:
    """`/compare?run=A&run=B`: rows x runs, each run against the first."""

    pages: Pages
    index: RunIndex
    cache: FileCache

    def add_to(self, app: FastAPI) -> None:
        """Add the route."""

        @app.get("/compare")
        def compare(
            request: Request,
            run: Annotated[list[str], Query()] = [],  # noqa: B006 - FastAPI's own copy
            show: Kept = "differ",
            text: Annotated[str, Query(alias="q", max_length=500)] = "",
            page: Annotated[int, Query(ge=1)] = 1,
        ) -> Response:
            places = self._places(run)
            cases = [cached_cases(place, self.cache) or [] for place in places]
            rows = joined(cases)
            kept = [row for row in rows if _keeps(row, show, text)]
            shown, page, pages = paged(kept, page)
            runs = [summarise(place, self.cache) for place in places]
            recipes = [recipe_in(cached_settings(place, self.cache)[0]) for place in places]
            query = [*(("run", place.slug) for place in places), ("show", show), ("q", text)]
            data = {
                "runs": runs,
                "differences": [difference(rows, n) for n in range(1, len(places))],
                "rows": shown,
                "count": len(kept),
                "common": len(rows),
                "alone": [len(answered) - len(rows) for answered in cases],
                "page": page,
                "pages": pages,
                "show": show,
                "text": text,
                "settings": different_settings(recipes),
                "curves": [asdict(curve) for curve in self._curves(places, runs)],
            }
            return self.pages.show(request, "compare.html", data, chart=_chart(runs), query=query)

    def _places(self, slugs: Sequence[str]) -> list[RunPlace]:
        wanted = list(dict.fromkeys(slugs))
        if not 2 <= len(wanted) <= MOST_RUNS:
            raise ConfigError(
                "a comparison needs several runs",
                got=len(wanted),
                expected=f"2 to {MOST_RUNS}",
                hint="tick them in the list of runs",
            )
        return self.index.find_all(wanted)

    def _curves(self, places: Sequence[RunPlace], runs: Sequence[RunSummary]) -> list[Curve]:
        return [
            replace(curve, name=f"{run.name}: {curve.name}")
            for place, run in zip(places, runs, strict=True)
            for curve in curves_of(cached_log(place, self.cache))
            if curve.key in _CURVES
        ]


def _keeps(row: Joined, show: Kept, text: str) -> bool:
    fits = row.differ if show == "differ" else show == "all" or show in row.changes
    first, wanted = row.cases[0], text.casefold()
    texts = (*first.fields.values(), first.gold, *(case.answer for case in row.cases))
    return fits and (not wanted or any(wanted in one.casefold() for one in texts))


def _chart(runs: Sequence[RunSummary]) -> Any:
    """All scores with their intervals, where the runs have the same metric."""
    scored = [run for run in runs if run.score is not None]
    if len({run.metric for run in scored}) != 1:
        return None
    scores = [
        Scored(run.name, run.score or 0.0, run.interval, strong=run is runs[0]) for run in scored
    ]
    return drawn(interval_chart(scores, scored[0].metric))
