"""How good the advice is, as tables in the docs, made from benchmarks/results/advice.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import NOT_YET
from cuecard.metrics.intervals import proportion_interval

_POINTS = 100  # of 1
_KINDS = {
    "labels": "the advice, texts with labels",
    "texts": "the advice, texts with texts",
    "images": "the advice, images",
    "all": "the advice, all",
}


def advice_table(results: Mapping[str, Any]) -> str:
    """Markdown: how often the advice hits, beside always taking one way, and case by case."""
    if not results:
        return NOT_YET
    lines = [
        "| advice | cases | tasks | within one point of the best | 95% interval "
        "| points below it | one of the first two |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    advice, always = results["advice"], results["always"]
    lines += [_line(_KINDS[kind], advice[kind]) for kind in _KINDS if kind in advice]
    usual = sorted(always, key=lambda way: -always[way]["cases"])
    lines += _bounds(results)
    lines += [_line(f"always {way}, where it was measured", always[way]) for way in usual]
    cases = [
        "| task | rows | backbone | CPU-s | advised, the task left out | its score | second "
        "| its score | the best | its score |",
        "|---|---:|---|---:|---|---:|---|---:|---|---:|",
        *map(_case, results["cases"]),
    ]
    return "\n".join(lines) + "\n\n" + "\n".join(cases)


def _bounds(results: Mapping[str, Any]) -> list[str]:
    """What chance reaches, and what advice does that knows the truth."""
    rate, chance, truth = results["advice"]["all"], results["chance"], results["truth"]
    cases, tasks = rate["cases"], rate["tasks"]

    def share(hits: float) -> str:
        return f"{hits:.1f} ({hits / cases:.0%})"

    known = [
        ("the true best, if ways err on the same rows", share(truth["same rows"]), "-"),
        ("the true best, if ways err on rows of their own", share(truth["own rows"]), "-"),
        ("drawn at random", share(chance["one"]), share(chance["two"])),
    ]
    return [f"| {name} | {cases} | {tasks} | {one} | - | - | {two} |" for name, one, two in known]


def _line(name: str, rate: Mapping[str, Any]) -> str:
    known = proportion_interval(rate["hits"], rate["cases"])
    cells = (
        name,
        f"{rate['cases']}",
        f"{rate['tasks']}",
        f"{rate['hits']} ({rate['hits'] / rate['cases']:.0%})",
        f"{known.low:.0%} - {known.high:.0%}",
        f"{_POINTS * rate['behind']:.1f}",
        f"{rate['hits_of_two']} ({rate['hits_of_two'] / rate['cases']:.0%})"
        if name in _KINDS.values()
        else "-",
    )
    return f"| {' | '.join(cells)} |"


def _case(case: Mapping[str, Any]) -> str:
    cells = (
        case["task"],
        f"{case['rows']:,}",
        case["backbone"],
        f"{case['budget']:.0f}",
        case["advised"],
        f"{case['score']:.3f}",
        case["second"] or "-",
        "-" if case["second"] is None else f"{case['second_score']:.3f}",
        case["best"],
        f"{case['best_score']:.3f}",
    )
    return f"| {' | '.join(cells)} |"
