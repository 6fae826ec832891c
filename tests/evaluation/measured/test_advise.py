"""Advice from what was measured: what is compared, what is said, and on how much it rests."""

from __future__ import annotations

from typing import Any

import pytest

from cuecard.evaluation.measured import advise, advise_few_rows, measurements
from cuecard.evaluation.measured.advise import situation_of
from cuecard.evaluation.measured.measurements import Measurement, Situation
from cuecard.evaluation.measured.nearest_tasks import (
    always,
    distance,
    expected,
    hit_rates,
    left_one_out,
    rated,
    rates,
)
from cuecard.evaluation.measured.ways import WAYS, fits
from cuecard.tasks import Task, TaskSpec
from cuecard.types import Record

SMOLLM2, T5 = "smollm2-135m-instruct", "flan-t5-small"


def situation(**changed: Any) -> Situation:
    given: dict[str, Any] = {
        "answers": "labels",
        "rows": 100,
        "labels": 2,
        "words": 20.0,
        "family": "causal",
        "parameters": 1000,
        "budget": 60.0,
    }
    return Situation(**{**given, **changed})


def measured(source: str, scores: dict[str, float], **changed: Any) -> Measurement:
    return Measurement(source, source, SMOLLM2, situation(**changed), 100, "a file", scores)


def task(count: int = 100, kind: str = "classification", labels: int = 2) -> Task:
    names = tuple(f"label {n}" for n in range(labels))
    named: dict[str, Any] = {"labels": names} if kind == "classification" else {}
    spec = TaskSpec(kind=kind, template="{text}:", **named)
    records = [
        Record({"text": f"a short message {n}"}, names[n % labels], "m.csv", n + 2)
        for n in range(count)
    ]
    return Task.from_records(spec, records)


def test_distances_are_doublings_of_what_is_known_of_both() -> None:
    assert distance(situation(), situation()) == 0
    assert distance(situation(), situation(rows=400)) == pytest.approx(2)
    assert distance(situation(), situation(rows=800, words=320.0)) == pytest.approx(5)
    assert distance(situation(words=None, budget=None), situation(budget=1.0)) == 0


def test_the_nearest_counts_most() -> None:
    known = [
        measured("near", {"prompt-tuning": 0.9, "lora": 0.8}),
        measured("far", {"prompt-tuning": 0.7, "lora": 0.9}, rows=100 * 2**8),
        measured("other kind", {"prompt-tuning": 0.0, "lora": 1.0}, answers="texts"),
    ]
    best, other = expected(situation(), known)
    assert (best.way, best.measured, other.way) == ("prompt-tuning", 2, "lora")
    # Weights 1 and 2 ** -4, and half a measurement at five points.
    assert best.behind == pytest.approx((0.2 / 16 + 0.5 * 0.05) / (1 + 1 / 16 + 0.5))
    assert other.behind == pytest.approx((0.1 + 0.5 * 0.05) / (1 + 1 / 16 + 0.5))
    assert expected(situation(rows=100 * 2**8), known)[0].way == "lora"


def test_what_was_measured_once_far_away_is_not_the_best() -> None:
    often = [
        measured(f"near {n}", {"auto": 0.89, "lora": 0.9, "full": 0.6}, rows=100 + n)
        for n in range(4)
    ]
    once = measured("far", {"search": 0.9, "auto": 0.9}, rows=100 * 2**10)
    ways = [each.way for each in expected(situation(), [*often, once])]
    assert ways == ["lora", "auto", "search", "full"]


def test_a_task_is_left_out_with_all_of_its_data() -> None:
    scores = {"auto": 0.9, "lora": 0.8}
    known = [
        measured("one", scores),
        measured("one", {"auto": 0.2, "lora": 0.9}, rows=120),
        measured("two", {"auto": 0.7, "lora": 0.795}),
    ]
    advised = left_one_out(known)
    assert [ways for _, ways in advised] == [["lora", "auto"]] * 3
    assert [round(each.behind(ways[0]), 3) for each, ways in advised] == [0.1, 0, 0]
    found = rated(advised)
    assert (found.cases, found.tasks, found.hits, found.hits_of_two) == (3, 2, 2, 3)
    assert found.behind == pytest.approx(0.1 / 3)
    assert always("auto", known).hits == 1
    assert rates(known) == {"labels": found, "all": found}


def test_only_what_was_measured_there_is_advised_of_a_task_left_out() -> None:
    known = [
        measured("one", {"auto": 0.9, "lora": 0.5}),
        measured("two", {"lora": 0.5, "by hand": 0.6}),
        measured("three", {"lora": 0.5, "by hand": 0.7}),
    ]
    assert [ways[0] for _, ways in left_one_out(known)] == ["lora", "by hand", "by hand"]


def test_every_measured_way_can_be_taken() -> None:
    ways = {way for each in measurements() for way in each.scores}
    assert ways <= WAYS.keys()
    assert all("{data}" in WAYS[way].command for way in ways)
    assert fits("p-tuning-v2", "causal") and not fits("p-tuning-v2", "seq2seq")
    assert fits("lora", "seq2seq") and fits("p-tuning-v2", None)


def test_a_task_is_seen_as_it_is() -> None:
    found = situation_of(task(count=100, labels=4), SMOLLM2, 120.0)
    assert found is not None
    assert (found.answers, found.labels, found.words, found.family) == ("labels", 4, 4.0, "causal")
    assert found.rows == len(task(count=100, labels=4).train) and found.budget == 120.0
    unknown = situation_of(task(), "somebody/model", None)
    assert unknown is not None and unknown.parameters is None and unknown.family is None


def test_advice_has_its_reasons() -> None:
    found = advise(task(count=400), SMOLLM2, 120.0)
    assert found.way == found.expected[0].way
    assert [each.behind for each in found.expected] == sorted(e.behind for e in found.expected)
    assert len(found.nearest) == 3 and all(found.way in each.scores for each in found.nearest)
    rate = hit_rates()["labels"]
    assert f"{rate.hits} of {rate.cases}" in found.basis
    assert f"{found.expected[0].measured} measurements of {found.way}" in found.basis
    assert found.second == found.expected[1].way and rate.hits_of_two >= rate.hits
    assert f"here {found.second}, in {rate.hits_of_two}." in found.basis
    assert found.to_dict()["advice"] == found.way
    assert "reviews.csv" in found.command("reviews.csv", "2m")


def test_ways_that_the_backbone_cannot_take_are_left_out() -> None:
    assert "p-tuning-v2" in {each.way for each in advise(task(), SMOLLM2).expected}
    assert "p-tuning-v2" not in {each.way for each in advise(task(), T5).expected}


@pytest.mark.parametrize(
    ("count", "backbone", "budget", "said"),
    [
        (30_000, SMOLLM2, 120.0, "training rows: measured were"),
        (400, SMOLLM2, 1e6, "CPU-seconds of budget: measured were"),
        (400, "somebody/model", 120.0, "not of the catalogue"),
    ],
)
def test_what_is_beyond_all_measurements_is_a_guess(
    count: int, backbone: str, budget: float, said: str
) -> None:
    cautions = advise(task(count), backbone, budget).cautions
    assert any(said in one for one in cautions)
    assert not any(said in one for one in advise(task(400), SMOLLM2, 120.0).cautions)


def test_a_way_that_was_measured_on_other_backbones_alone_is_said_to_be() -> None:
    found = advise(task(400), T5, 120.0)
    on = {m.situation.family for m in measurements() if found.way in m.scores}
    said = f"{found.way} was not measured on an encoder-decoder" in found.cautions
    assert said == ("seq2seq" not in on)
    assert not any("not measured on" in one for one in advise(task(400), SMOLLM2).cautions)


def test_kinds_without_measurements_say_so() -> None:
    spec = TaskSpec(kind="regression", template="{text}:")
    records = [Record({"text": f"text {n}"}, str(n / 7), "m.csv", n + 2) for n in range(60)]
    found = advise(Task.from_records(spec, records), SMOLLM2, 120.0)
    assert (found.way, found.expected, found.hit_rate) == ("auto", (), None)
    assert found.second is None
    assert "regression" in found.cautions[0] and "no measurement" in found.basis


def test_few_rows_are_told_of_a_better_way() -> None:
    few, many = task(60), task(900)
    best = advise(few, SMOLLM2).way
    worst = max(advise(few, SMOLLM2).expected, key=lambda each: each.behind).way
    said = advise_few_rows(few, SMOLLM2, None, worst)
    assert worst in said and best in said and f"{len(few.train)} training rows" in said
    assert advise_few_rows(few, SMOLLM2, None, best) == ""
    assert advise_few_rows(few, SMOLLM2, None, "a method of somebody else's") == ""
    assert advise_few_rows(many, SMOLLM2, None, worst) == ""
