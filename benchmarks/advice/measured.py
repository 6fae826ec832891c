"""The results of the benchmarks as measurements: one reader for each file."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from benchmarks.advice.bounds import by_chance, by_truth
from benchmarks.learning.sets import TEST
from benchmarks.places import RESULTS
from cuecard.catalogue import BACKBONES
from cuecard.evaluation.measured.measurements import Answers, Measurement, Situation
from cuecard.evaluation.measured.nearest_tasks import always, left_one_out, rates
from cuecard.evaluation.measured.ways import BY_CONTESTANT

RESULT = RESULTS / "advice.json"


@dataclass(frozen=True)
class _Data:
    """A task's data.

    Attributes:
        source: what it is drawn from.
        labels: how many; 1 for texts.
        words: of an input, the mean over 2,000 training rows; None where it is not known.
    """

    source: str
    answers: Answers
    labels: int
    words: float | None = None


_REVIEWS, _NEWS = _Data("rotten-tomatoes", "labels", 2, 21.0), _Data("ag-news", "labels", 4, 37.6)
DATA = {
    "sentiment": _REVIEWS,
    "mr": _REVIEWS,
    "topic": _NEWS,
    "agnews": _NEWS,
    "nli": _Data("mnli", "labels", 3, 29.7),
    "intent": _Data("it-tickets", "labels", 7, 40.0),
    # Words of the next two by Gao et al. 2021, table B.1.
    "sst-2": _Data("sst-2", "labels", 2, 19.0),
    "subj": _Data("subj", "labels", 2, 23.0),
    "headlines": _Data("bbc-news", "texts", 1, 382.8),
    "negation": _Data("negation", "texts", 1),
    "articles": _Data("bbc-news", "labels", 5, 385.0),
    "long reviews": _Data("imdb", "labels", 2, 226.8),
    "fashion-mnist": _Data("fashion-mnist", "images", 10),
    "cifar-10": _Data("cifar-10", "images", 10),
    "bloodmnist": _Data("bloodmnist", "images", 8),
    "organamnist": _Data("organamnist", "images", 11),
}
# Contestants that are no way of the package, or not one that is advised.
_NO_WAYS = {"majority", "full", "start", "peft"}


def _measured(
    origin: str,
    name: str,
    backbone: str,
    scores: Mapping[str, float],
    *,
    rows: int,
    budget: float,
    test_rows: int,
) -> Measurement:
    data, entry = DATA[name], BACKBONES[backbone]
    situation = Situation(
        answers=data.answers,
        rows=rows,
        labels=data.labels,
        words=data.words,
        family=entry.family,
        parameters=entry.parameters,
        budget=round(budget, 1),
    )
    kept = {way: round(score, 4) for way, score in scores.items() if way not in _NO_WAYS}
    return Measurement(name, data.source, backbone, situation, test_rows, origin, kept)


def _of_methods(origin: str, results: Any) -> Iterator[Measurement]:
    """All methods with as many steps: the budget is the median of what these took."""
    rows = results["plan"]["rows"]
    cells: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for row in results["rows"]:
        if "score" in row:
            cells[row["model"], row["set"]][row["contestant"]] = row
    for (model, name), found in cells.items():
        trained = [fmean(row["cpu_s"]) for row in found.values() if row["parameters"]]
        seeds = max(len(row["seeds"]) for row in found.values())
        scores = {way: row["score"] for way, row in found.items()}
        sizes = {"rows": rows["train"], "test_rows": rows["test"] * seeds}
        yield _measured(origin, name, model, scores, budget=median(trained), **sizes)


def _of_learning(origin: str, results: Any) -> Iterator[Measurement]:
    """Contestants within budgets; TF-IDF's score is in all of them."""
    cells: dict[tuple[str, int, float], dict[str, list[float]]] = defaultdict(dict)
    for cell in results["cells"]:
        place = cells[cell["set"], cell["rows"], cell["budget"]]
        place.setdefault(cell["contestant"], []).append(cell["score"])
    for (name, rows, budget), found in cells.items():
        if not budget:
            continue
        linear = cells.get((name, rows, 0.0), {}).get("tfidf")
        scores = {way: fmean(seeds) for way, seeds in found.items()}
        scores |= {} if linear is None else {"linear": fmean(linear)}
        tested = TEST * min(len(found[way]) for way in found if way not in _NO_WAYS)
        model: str = results["model"]
        yield _measured(origin, name, model, scores, rows=rows, budget=budget, test_rows=tested)


_SHOTS = "16-shot"
_SEARCHED = {"as it was": "by hand", "auto": "search", "soft prompt": "prompt-tuning"}


def _of_search(origin: str, results: Any) -> Iterator[Measurement]:
    """Words beside a soft prompt, which took as much of the model as the searches."""
    # Tasks without a counted number of rows for each label have no place among the measurements.
    plan = next(plan for plan in results["plans"] if plan["protocol"] == _SHOTS)
    sizes = plan["sizes"]
    rows = [row for row in results["rows"] if row["protocol"] == _SHOTS]
    for name in rows[0]["sets"]:
        soft = [
            cell["cpu_s"]
            for cell in results["cells"]
            if (cell["set"], cell["contestant"]) == (name, "soft prompt")
        ]
        scores = {
            _SEARCHED[row["contestant"]]: row["sets"][name]
            for row in rows
            if row["contestant"] in _SEARCHED
        }
        yield _measured(
            origin,
            name,
            plan["backbone"],
            scores,
            rows=sizes["shots"] * DATA[name].labels,
            budget=fmean(soft),
            test_rows=sizes["test"] * len(soft),
        )


_SEEN = {
    "linear": "linear",
    "auto": "auto",
    "lora": "lora",
    "prefix patches": "p-tuning-v2",
    "deep patches": "deep-prompts",
    "shallow patches": "prompt-tuning",
}


def _of_vision(origin: str, results: Any) -> Iterator[Measurement]:
    """Prompts for images: of each method the init that the package starts from."""
    plan = results["plan"]
    for name in results["sets"]:
        found = {row["contestant"]: row for row in results["rows"] if row["set"] == name}
        yield _measured(
            origin,
            name,
            plan["model"],
            {way: found[each]["score"] for each, way in _SEEN.items()},
            rows=plan["examples"],
            budget=found["auto"]["cpu_s"],
            test_rows=plan["test_rows"],
        )


def of_compare(origin: str, results: Any) -> Iterator[Measurement]:
    """The contest of `benchmarks.compare`; of contestants of one way what validation prefers.

    What is trained was trained at several rates: the budget is prompt tuning's, for all of them.
    """
    plan = results["plan"]
    cells: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for cell in results["cells"]:
        if "right" in cell:
            cells[cell["backbone"], cell["set"]][cell["contestant"]] = cell
    for (backbone, name), found in cells.items():
        if "prompt-tuning" not in found:
            continue
        ways: dict[str, list[Any]] = defaultdict(list)
        for contestant, cell in found.items():
            if contestant in BY_CONTESTANT:
                ways[BY_CONTESTANT[contestant]].append(cell)
        scores = {
            way: max(own, key=lambda cell: cell["validation"])["test"] for way, own in ways.items()
        }
        tuned = found["prompt-tuning"]
        sizes = {"rows": plan["rows"]["train"], "test_rows": len(tuned["right"])}
        yield _measured(origin, name, backbone, scores, budget=tuned["cpu_s"], **sizes)


_READERS: Mapping[str, Callable[[str, Any], Iterator[Measurement]]] = {
    "methods_few": _of_methods,
    "methods": _of_methods,
    "learning": _of_learning,
    "learning_qwen": _of_learning,
    "search": _of_search,
    "vision": _of_vision,
    "compare": of_compare,
}


def all_measurements() -> list[Measurement]:
    """Those of every file that is there, with two ways or more."""
    files = {name: RESULTS / f"{name}.json" for name in _READERS}
    found = [
        each
        for name, file in files.items()
        if file.exists()
        for each in _READERS[name](name, json.loads(file.read_text(encoding="utf-8")))
    ]
    return [each for each in found if len(each.scores) > 1]


def hit_rates(known: Sequence[Measurement]) -> dict[str, Any]:
    """How often the advice is right, case by case, beside always taking one way."""
    advised = left_one_out(known)
    ways = sorted({way for each in known for way in each.scores})
    return {
        "advice": {kind: vars(rate) for kind, rate in rates(known).items()},
        "always": {way: vars(always(way, known)) for way in ways},
        "chance": {"one": by_chance(known, 1), "two": by_chance(known, 2)},
        "truth": {
            "own rows": by_truth(known, same_rows=False),
            "same rows": by_truth(known, same_rows=True),
        },
        "cases": [
            {
                "origin": each.origin,
                "answers": each.situation.answers,
                "task": each.task,
                "backbone": each.backbone,
                "rows": each.situation.rows,
                "budget": each.situation.budget,
                "advised": way,
                "score": each.scores[way],
                "second": second[0] if second else None,
                "second_score": each.scores[second[0]] if second else None,
                "best": max(each.scores, key=lambda name: each.scores[name]),
                "best_score": each.best,
            }
            for each, (way, *second) in advised
        ],
    }
