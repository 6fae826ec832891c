"""The report of one or several contests, in every format, in the comparison's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cuecard.backbones.quantization.weights import weight_bytes, weight_count
from cuecard.comparison.contest.contender import Contest
from cuecard.comparison.contest.general_texts import GeneralTexts
from cuecard.comparison.contest.notes import notes
from cuecard.comparison.contest.pages import ReportSection, as_html, as_markdown
from cuecard.comparison.contest.result import ContestResult
from cuecard.comparison.contest.table import (
    Facts,
    cells,
    columns,
    difference,
    interval_in,
    scores_and_costs,
)
from cuecard.comparison.table_files import as_csv, as_latex
from cuecard.evaluation.charts.curves import curve_chart
from cuecard.evaluation.charts.intervals import Scored, interval_chart
from cuecard.evaluation.charts.pareto import Priced, pareto_chart
from cuecard.evaluation.report import plain, write_json
from cuecard.plain_files import write_text
from cuecard.tasks.kinds import KINDS
from cuecard.types import Interval

JSON, MARKDOWN, HTML, LATEX = "compare.json", "compare.md", "compare.html", "compare.tex"
CSV = "compare.csv"
# A contestant's facts that are one number or text, in the order of the CSV file.
_NUMBERS = (
    *("validation", "parameters", "bytes_per_task", "prompt_tokens", "cpu_seconds", "seconds"),
    *("test_seconds", "peak_bytes", "cost"),
)
_COSTS = "What a task costs, and what it does to the backbone"
DOTS, CURVE = "compare.svg", "learning-curve.svg"
_PARETO = "Score by what it costs"
_BEST = "Bold and on the dashed line: nothing else scores as much for as little."
# A figure's file -> what a contestant's facts call the cost, and what people do.
_PRICES = {
    "score-by-bytes.svg": ("bytes_per_task", "bytes per task"),
    "score-by-cpu.svg": ("cpu_seconds", "CPU seconds to fit"),
    "score-by-tokens.svg": ("prompt_tokens", "prompt tokens per request"),
}


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


def write_report(report: Mapping[str, Any], folder: Path, title: str) -> None:
    """Leave the report as JSON, Markdown, HTML, LaTeX and CSV, and its figures as SVG."""
    sections, last = report_sections(report), report["contests"][-1]
    heading = f"{title}: contestants on {report['backbone']}"
    write_json(report, folder / JSON)
    for section in sections:
        for name, svg in section.figures.items():
            write_text(svg + "\n", folder / name)
    write_text(as_markdown(heading, sections), folder / MARKDOWN)
    write_text(as_html(heading, sections), folder / HTML)
    write_text(as_latex(columns(last, score_name(report)), cells(last)), folder / LATEX)
    write_text(_csv(report), folder / CSV)


def _csv(report: Mapping[str, Any]) -> str:
    """Every contestant of every number of training rows."""
    rows = []
    for contest in report["contests"]:
        for name, each in contest["contestants"].items():
            ends = each["ci95"] or (None, None)
            own = (name, each["title"], contest["train_rows"], each["score"])
            rows.append([*own, *ends, *(each[number] for number in _NUMBERS)])
    score = score_name(report)
    return as_csv(("contestant", "title", "train_rows", score, "low", "high", *_NUMBERS), rows)


def report_sections(report: Mapping[str, Any]) -> list[ReportSection]:
    """What a report shows.

    Args:
        report: as `compare.json` has it.
    """
    contests, score = report["contests"], score_name(report)
    last = contests[-1]
    scores, costs = scores_and_costs(last, score)
    dots = {DOTS: interval_chart(scores_of(last), score)}
    found = [ReportSection("", *scores, report["notes"], dots), ReportSection(_COSTS, *costs)]
    found.append(ReportSection(_PARETO, notes=(_BEST,), figures=_pareto_charts(last, score)))
    if len(contests) > 1:
        found.append(_curve_section(contests, score))
    found.append(_pairs_section(last))
    return found


def score_name(report: Mapping[str, Any]) -> str:
    """What the score is called, by the kind of the task."""
    return KINDS[report["kind"]].headings[0]


def scores_of(contest: Facts) -> list[Scored]:
    """Every contestant's score; the others are seen against the best in words."""
    return [
        Scored(
            each["title"], each["score"], interval_in(each["ci95"]), name == contest["reference"]
        )
        for name, each in contest["contestants"].items()
    ]


def _pareto_charts(contest: Facts, score: str) -> dict[str, str]:
    """The scores over each cost."""
    scores, contestants = scores_of(contest), contest["contestants"].values()
    return {
        file: pareto_chart(
            [Priced(one, each[key]) for one, each in zip(scores, contestants, strict=True)],
            score,
            name,
        )
        for file, (key, name) in _PRICES.items()
    }


def _curve_section(contests: Sequence[Facts], score: str) -> ReportSection:
    dots = [(one["train_rows"], dot) for one in contests for dot in scores_of(one)]
    by_name: dict[str, dict[int, str]] = {}
    for at, dot in dots:
        by_name.setdefault(dot.name, {})[at] = f"{dot.value:.3f}"
    rows = [one["train_rows"] for one in contests]
    table = [(name, *(own.get(n, "-") for n in rows)) for name, own in by_name.items()]
    heading = ("contestant", *(f"{n:,} rows" for n in rows))
    note = "Of fewer training rows there are as few validation rows; the test rows are the same."
    figures = {CURVE: curve_chart(dots, score)}
    return ReportSection("Score by training rows", heading, table, (note,), figures)


def _pairs_section(contest: Facts) -> ReportSection:
    """Every contestant minus every other, with paired intervals."""
    found: dict[tuple[str, str], str] = {}
    for pair in contest["pairs"]:
        (low, high), value = pair["ci95"], pair["a_minus_b"]
        found[pair["a"], pair["b"]] = difference(value, Interval(low, high))
        found[pair["b"], pair["a"]] = difference(-value, Interval(-high, -low))
    titles = {name: each["title"] for name, each in contest["contestants"].items()}
    table = [
        (title, *(found.get((name, other), "") for other in titles))
        for name, title in titles.items()
    ]
    heading = ("row minus column", *titles.values())
    note = "Paired 95% intervals, each by itself: of twenty such, one is expected to be wrong."
    return ReportSection("Each against each", heading, table, (note,))
