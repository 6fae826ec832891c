"""The list of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response

from cuecard.board.records.cases import paged
from cuecard.board.records.index import FileCache, RunIndex
from cuecard.board.records.summary import RunSummary, summarise
from cuecard.board.view import Pages, drawn
from cuecard.evaluation.charts.intervals import interval_bar

_PAGE = 100
Column = Literal["name", "data", "model", "method", "score", "gain", "changed", "state"]
Direction = Literal["up", "down"]
# What a column is sorted by; a run without a number comes last either way.
_SORTS: dict[Column, Callable[[RunSummary], Any]] = {
    "name": lambda run: run.name.casefold(),
    "data": lambda run: run.data.casefold(),
    "model": lambda run: run.model.casefold(),
    "method": lambda run: run.method.casefold(),
    "score": lambda run: run.score,
    "gain": lambda run: run.gain,
    "changed": lambda run: run.changed,
    "state": lambda run: run.state,
}


@dataclass(frozen=True)
class RunsPage:
    """`/`: every run in a line."""

    pages: Pages
    index: RunIndex
    cache: FileCache

    def add_to(self, app: FastAPI) -> None:
        """Add the route."""

        @app.get("/")
        def runs(
            request: Request,
            text: Annotated[str, Query(alias="q", max_length=200)] = "",
            state: str = "",
            kind: str = "",
            sort: Column = "changed",
            order: Direction = "down",
            page: Annotated[int, Query(ge=1)] = 1,
        ) -> Response:
            found = [summarise(place, self.cache) for place in self.index.runs()]
            kept = [
                run
                for run in found
                if _has(run, text) and state in ("", run.state) and kind in ("", run.kind)
            ]
            shown, page, pages = paged(ordered(kept, sort, order), page, _PAGE)
            chosen = {"q": text, "state": state, "kind": kind, "sort": sort, "order": order}
            data = {
                "folder": str(self.index.root),
                "runs": shown,
                "count": len(kept),
                "all": len(found),
                "page": page,
                "pages": pages,
                "chosen": chosen,
            }
            bars = {
                run.slug: drawn(interval_bar(run.score, run.interval))
                for run in shown
                if run.score is not None and 0.0 <= run.score <= 1.0
            }
            states, kinds = {run.state for run in found}, {run.kind for run in found}
            return self.pages.show(
                request, "runs.html", data, bars=bars, states=sorted(states), kinds=sorted(kinds)
            )


def ordered(runs: Sequence[RunSummary], sort: Column, order: Direction) -> list[RunSummary]:
    """Runs in a column's order; those without a value last."""
    known = [run for run in runs if _SORTS[sort](run) is not None]
    others = [run for run in runs if _SORTS[sort](run) is None]
    return sorted(known, key=_SORTS[sort], reverse=order == "down") + others


def _has(run: RunSummary, text: str) -> bool:
    wanted = text.casefold().split()
    held = " ".join((run.name, run.data, run.model, run.method, run.kind)).casefold()
    return all(word in held for word in wanted)
