"""The rows that a run answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response

from cuecard.board.missing import MissingError
from cuecard.board.records.cases import (
    CaseFilter,
    Show,
    cached_cases,
    labels_in,
    paged,
)
from cuecard.board.records.files import cached_settings
from cuecard.board.records.index import FileCache, RunIndex, RunPlace
from cuecard.board.records.thumbnails import Thumbnails, digests_in
from cuecard.board.view import Pages, drawn
from cuecard.comparison.table_files import Value, as_csv
from cuecard.evaluation.cases.case import Case
from cuecard.evaluation.charts.shares import bar

Order = Literal["file", "unsure", "sure"]
_SHOWN = 3  # probabilities of a row
_TEXT = 2_000  # characters of an input


@dataclass(frozen=True)
class CasesPage:
    """`/runs/NAME/rows`: the answers, filtered, a page at a time, and as CSV."""

    pages: Pages
    index: RunIndex
    cache: FileCache
    thumbnails: Thumbnails

    def add_to(self, app: FastAPI) -> None:
        """Add the route."""

        @app.get("/runs/{slug}/rows")
        def rows(
            request: Request,
            slug: str,
            show: Show = "all",
            gold: str = "",
            answer: str = "",
            text: Annotated[str, Query(alias="q", max_length=500)] = "",
            order: Order = "file",
            page: Annotated[int, Query(ge=1)] = 1,
            form: Annotated[str, Query(alias="format")] = "html",
        ) -> Response:
            place = self.index.find(slug)
            cases = cached_cases(place, self.cache)
            if cases is None:
                raise MissingError("this run has no answers to test rows")
            wanted = CaseFilter(show, gold, answer, text)
            kept = in_order([case for case in cases if wanted.keeps(case)], order)
            if form == "csv":
                return _as_csv(kept)
            shown, page, pages = paged(kept, page)
            golds, answers = labels_in(cases)
            data = {
                "slug": slug,
                "name": place.name,
                "rows": shown,
                "count": len(kept),
                "all": len(cases),
                "right": sum(case.correct is True for case in kept),
                "page": page,
                "pages": pages,
                "chosen": asdict(wanted) | {"order": order},
                "golds": golds,
                "answers": answers,
            }
            query = {"show": show, "gold": gold, "answer": answer, "q": text, "order": order}
            bars = {case.number: _bars(case.probabilities) for case in shown}
            pictures = self._pictures(place, shown)
            more: dict[str, Any] = {"bars": bars, "query": query, "most": _TEXT}
            return self.pages.show(request, "cases.html", data, pictures=pictures, **more)

    def _pictures(self, place: RunPlace, cases: Sequence[Case]) -> dict[int, list[str]]:
        """The digests of each case's images that there are pictures of."""
        wanted = {case.number: digests_in(case.fields.values()) for case in cases}
        digests = [digest for some in wanted.values() for digest in some]
        if digests:
            settings, _ = cached_settings(place, self.cache)
            self.thumbnails.add_of_run(place, settings, digests)
        return {
            number: [digest for digest in some if self.thumbnails.get(digest) is not None]
            for number, some in wanted.items()
        }


def in_order(cases: Sequence[Case], order: Order) -> Sequence[Case]:
    """Cases as the file has them, or by how sure the answers are."""
    if order == "file":
        return cases
    return sorted(
        cases,
        key=lambda case: 0.0 if case.probability is None else case.probability,
        reverse=order == "sure",
    )


def _bars(probabilities: Mapping[str, float]) -> list[tuple[str, float, Any]]:
    first = list(probabilities.items())[:_SHOWN]
    return [(label, share, drawn(bar(share, f"{share:.3f}"))) for label, share in first]


def _as_csv(cases: Sequence[Case]) -> Response:
    """The cases as a file to keep."""
    names = list(dict.fromkeys(name for case in cases for name in case.fields))
    rows: list[list[Value]] = []
    for case in cases:
        texts = [case.fields.get(name, "") for name in names]
        answered = (case.gold, case.answer, case.correct, case.probability)
        rows.append([*texts, *answered, case.source, case.row])
    columns = (*names, "gold", "answer", "correct", "probability", "source", "row")
    return Response(
        as_csv(columns, rows).encode("utf-8", "backslashreplace"),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="rows.csv"'},
    )
