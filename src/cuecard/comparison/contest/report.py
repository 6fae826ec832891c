"""The report of one or several contests, in every format, in the comparison's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cuecard.backbones.quantization.weights import weight_bytes, weight_count
from cuecard.comparison.contest.contender import Contest
from cuecard.comparison.contest.general_texts import GeneralTexts
from cuecard.comparison.contest.pages import ReportSection, as_html, as_latex, as_markdown
from cuecard.comparison.contest.table import (
    ContestResult,
    cells,
    columns,
    difference,
    notes,
    scores_and_costs,
)
from cuecard.evaluation.charts.curves import curve_chart
from cuecard.evaluation.charts.intervals import Scored, interval_chart
from cuecard.evaluation.report import plain, write_json
from cuecard.plain_files import write_text

JSON, MARKDOWN, HTML, LATEX = "compare.json", "compare.md", "compare.html", "compare.tex"
_COSTS = "What a task costs, and what it does to the backbone"
_DOTS, _CURVE = "compare.svg", "learning-curve.svg"


def contest_report(
    contest: Contest, contests: Sequence[ContestResult], general: GeneralTexts | str
) -> dict[str, Any]:
    """Everything that was found, as JSON knows it.

    Args:
        contests: by training rows, ascending.
        general: the texts that forgetting was measured on, or why there are none.
    """
    backbone, spec = contest.backbone, contest.task.spec
    found = [e.standing.forgetting for one in contests for e in one.tested]
    off = next((each.off for each in found if each is not None), None)
    report: dict[str, Any] = {
        "backbone": backbone.name,
        "parameters": weight_count(backbone.model),
        "weight_bytes": weight_bytes(backbone.model),
        "fingerprint": backbone.fingerprint,
        "kind": spec.kind,
        "metric": spec.task_kind.headline,
        "seed": contest.config.seed,
        "rates": contest.rates,
        "training": contest.config.model_dump(mode="json"),
        "general": {**_general(general), "loss": off},
        "price_per_hour": contests[-1].price,
        "contests": [one.facts() for one in contests],
    }
    return dict(plain({**report, "notes": notes(contests, report)}))


def _general(general: GeneralTexts | str) -> dict[str, Any]:
    if isinstance(general, str):
        return {"source": None, "texts": 0, "why_not": general}
    return {"source": general.source, "texts": len(general.ids), "why_not": None}


def write_report(
    report: Mapping[str, Any], contests: Sequence[ContestResult], folder: Path, title: str
) -> None:
    """Leave the report as JSON, Markdown, HTML and LaTeX, and its figures as SVG."""
    figures: dict[str, str] = {}
    sections = _sections(report, contests, title, figures)
    heading = f"{title}: contestants on {report['backbone']}"
    write_json(report, folder / JSON)
    for name, svg in figures.items():
        write_text(svg + "\n", folder / name)
    write_text(as_markdown(heading, sections), folder / MARKDOWN)
    write_text(as_html(heading, sections), folder / HTML)
    write_text(as_latex(columns(contests[-1]), cells(contests[-1])), folder / LATEX)


def _sections(
    report: Mapping[str, Any],
    contests: Sequence[ContestResult],
    title: str,
    figures: dict[str, str],
) -> list[ReportSection]:
    last, axis = contests[-1], contests[-1].task.spec.task_kind.headings[0]
    figures[_DOTS] = interval_chart(_dots(last), axis)
    first = {_DOTS: figures[_DOTS]}
    scores, costs = scores_and_costs(last)
    found = [ReportSection("", *scores, report["notes"], first), ReportSection(_COSTS, *costs)]
    if len(contests) > 1:
        dots = [(one.rows, dot) for one in contests for dot in _dots(one)]
        figures[_CURVE] = curve_chart(dots, axis)
        found.append(_curve_section(contests, {_CURVE: figures[_CURVE]}))
    found.append(_pairs_section(last))
    return found


def _dots(contest: ContestResult) -> list[Scored]:
    """Every contestant's score; the others are seen against the best in words."""
    found = []
    for each in contest.tested:
        assert each.test is not None
        score, interval = each.test.metrics[contest.metric], each.test.ci95.get(contest.metric)
        strong = each is contest.reference
        found.append(Scored(each.standing.title, float(score), interval, strong))
    return found


def _curve_section(contests: Sequence[ContestResult], figures: Mapping[str, str]) -> ReportSection:
    by_name: dict[str, dict[int, str]] = {}
    for one in contests:
        for dot in _dots(one):
            by_name.setdefault(dot.name, {})[one.rows] = f"{dot.value:.3f}"
    rows = [one.rows for one in contests]
    table = [(name, *(own.get(n, "-") for n in rows)) for name, own in by_name.items()]
    heading = ("contestant", *(f"{n:,} rows" for n in rows))
    note = "Of fewer training rows there are as few validation rows; the test rows are the same."
    return ReportSection("Score by training rows", heading, table, (note,), figures)


def _pairs_section(contest: ContestResult) -> ReportSection:
    """Every contestant minus every other, with paired intervals."""
    tested = contest.tested
    table = []
    for better in tested:
        row = [better.standing.title]
        for worse in tested:
            if better is worse:
                row.append("")
                continue
            found = contest.gain_over(better, worse)
            row.append(difference(found.value, found.ci95))
        table.append(row)
    heading = ("row minus column", *(each.standing.title for each in tested))
    note = "Paired 95% intervals, each by itself: of twenty such, one is expected to be wrong."
    return ReportSection("Each against each", heading, table, (note,))
