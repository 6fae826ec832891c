"""One run: its curves, what it was compared with, its settings, and what it confuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from markupsafe import Markup

from cuecard.board.pages.details import Details, NoDetails, Shown
from cuecard.board.records.cases import cached_cases, labels_in
from cuecard.board.records.curves import curves_of, progress_of
from cuecard.board.records.files import (
    cached_log,
    cached_report,
    cached_settings,
)
from cuecard.board.records.index import FileCache, RunIndex, RunPlace
from cuecard.board.records.settings_shown import settings_shown
from cuecard.board.records.summary import summarise
from cuecard.board.view import Pages, drawn
from cuecard.comparison.comparison import Proof
from cuecard.errors import CuecardError
from cuecard.evaluation.cases.case import Case
from cuecard.evaluation.charts.intervals import contestants, interval_chart
from cuecard.evaluation.charts.shares import reliability_bins, reliability_chart
from cuecard.runs.recipe_command import command_of
from cuecard.runs.run_kinds import RUN, RunKind

_MOST_LABELS = 40  # of a matrix that is shown
_LAST_EVENTS = 12
_FEW_PARTS = 12  # more of them are shown when asked for
_NONE = NoDetails()


@dataclass(frozen=True)
class RunPage:
    """`/runs/NAME`, and the part of it that changes while the run works."""

    pages: Pages
    index: RunIndex
    cache: FileCache
    flags: Mapping[str, str]
    details: Mapping[RunKind, Details]

    def add_to(self, app: FastAPI) -> None:
        """Add the routes."""

        @app.get("/runs/{slug}")
        def run(request: Request, slug: str) -> Response:
            place = self.index.find(slug)
            data, more = self._facts(place)
            live, whole = self._live(place), self._details(place).whole(place)
            more |= {**live.more, **whole.more, "few_parts": _FEW_PARTS}
            more["live_template"] = self._details(place).live_template
            data = {**live.data, **data, **whole.data}
            return self.pages.show(request, self._details(place).template, data, **more)

        @app.get("/runs/{slug}/live")
        def live(request: Request, slug: str) -> Response:
            place = self.index.find(slug)
            live, template = self._live(place), self._details(place).live_template
            return self.pages.show(request, template, live.data, **live.more)

    def _details(self, place: RunPlace) -> Details:
        return _NONE if place.kind is None else self.details.get(place.kind, _NONE)

    def _live(self, place: RunPlace) -> Shown:
        events, own = cached_log(place, self.cache), self._details(place).live(place)
        data = {
            "run": summarise(place, self.cache),
            "axis": "step",
            "gain_over": "the best other",
            "progress": progress_of(events),
            "curves": [asdict(curve) for curve in curves_of(events)],
            "events": events[-_LAST_EVENTS:],
        }
        return Shown({**data, **own.data}, own.more)

    def _facts(self, place: RunPlace) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the page shows, and its pictures."""
        proof = cached_report(place, self.cache)
        values, _ = cached_settings(place, self.cache)
        cases, broken = self._cases(place)
        data: dict[str, Any] = {
            "command": command_of(values, self.flags, RUN.command)
            if place.kind is RUN and values
            else "",
            "resume": "" if place.kind is None else place.kind.command,
            "settings": settings_shown(values) if values else [],
            "table": _table(proof),
            "facts": _facts_of(proof),
            "confusion": confusion_of(cases),
            "cases": len(cases),
            "broken_cases": broken,
            "parts": [summarise(part, self.cache) for part in self.index.parts(place)],
        }
        charts: dict[str, Markup | None] = {"contestants": None, "reliability": None}
        if proof is not None and proof.rows:
            chart = interval_chart(contestants(proof.rows), proof.columns[1])
            charts["contestants"] = drawn(chart)
        sure = [(c.probability, c.correct) for c in cases]
        known = [(p, right) for p, right in sure if p is not None and right is not None]
        if known:
            charts["reliability"] = drawn(reliability_chart(reliability_bins(known)))
        return data, {"charts": charts}

    def _cases(self, place: RunPlace) -> tuple[Sequence[Case], str]:
        try:
            return cached_cases(place, self.cache) or (), ""
        except CuecardError as error:
            return (), str(error)


def confusion_of(cases: Sequence[Case]) -> dict[str, Any] | None:
    """How often each label was answered for each; None where answers are not labels."""
    labels, answers = labels_in(cases)
    if not labels or not answers or len({*labels, *answers}) > _MOST_LABELS:
        return None
    names = sorted({*labels, *answers})
    counts = Counter((case.gold, case.answer) for case in cases)
    rows = []
    for gold in names:
        of_gold = sum(counts[gold, answer] for answer in names)
        cells = [
            {
                "answer": answer,
                "count": counts[gold, answer],
                "tenth": round(10 * counts[gold, answer] / max(1, of_gold)),
            }
            for answer in names
        ]
        rows.append({"gold": gold, "cells": cells, "count": of_gold})
    return {"labels": names, "rows": rows}


def _table(proof: Proof | None) -> dict[str, Any] | None:
    if proof is None:
        return None
    return {
        "columns": list(proof.columns),
        "rows": [list(row.cells()) for row in proof.rows],
        "notes": list(proof.notes),
    }


# A report's facts that the head of the page shows -> what they are called.
_FACTS = {
    "test_rows": "test rows",
    "train_rows": "training rows",
    "validation_rows": "validation rows",
    "trained_parameters": "parameters trained",
    "parameters": "parameters in all",
    "prompt_bytes": "bytes of the prompt",
    "train_cpu_seconds": "CPU seconds of training",
    "best_step": "best step",
    "lr": "learning rate",
    "seed": "seed",
    "digest": "digest",
}


def _facts_of(proof: Proof | None) -> dict[str, str]:
    """A report's facts by what they are called, as text."""
    report = {} if proof is None else proof.report
    return {name: _said(report[key]) for key, name in _FACTS.items() if report.get(key) is not None}


def _said(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
