"""Which rows the next generation learns from."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from cuecard.tasks.predictions import as_predictions
from cuecard.training.few_shot.generations import some_others, sure_rows
from cuecard.types import Record


def rows(labels: list[str | None]) -> list[Record]:
    return [Record({"text": f"row {n}"}, label) for n, label in enumerate(labels)]


def test_a_quarter_of_the_others_label_a_patterns_rows() -> None:
    drawn = [some_others(2, 9, np.random.default_rng(seed)) for seed in range(200)]
    assert all(len(set(each)) == 2 and 2 not in each for each in drawn)
    assert {number for each in drawn for number in each} == {0, 1, 3, 4, 5, 6, 7, 8}
    assert some_others(0, 2, np.random.default_rng(0)) == [1]


def test_sets_grow_in_the_ratio_of_the_labels() -> None:
    labelled = [replace(row, fields={"text": "other"}) for row in rows(["no", "no", "yes"])]
    unlabelled = rows([None] * 40)
    scores = np.asarray([[2.0, 0.0]] * 25 + [[0.0, 2.0]] * 15)
    answers = as_predictions(scores, ("no", "yes"))
    found = sure_rows(labelled, unlabelled, answers, 5.0, np.random.default_rng(0))
    assert Counter(record.target for record in found) == {"no": 8, "yes": 4}
    texts = [record.texts["text"] for record in found]
    assert len({*texts}) == 12
    assert {*texts[:8]} <= {f"row {n}" for n in range(25)}
    # No more than there are.
    every = sure_rows(labelled, unlabelled, answers, 50.0, np.random.default_rng(0))
    assert Counter(record.target for record in every) == {"no": 25, "yes": 15}
    known = [*labelled, replace(unlabelled[0], target="no")]
    fewer = sure_rows(known, unlabelled, answers, 50.0, np.random.default_rng(0))
    assert [record.texts["text"] for record in fewer[:2]] == ["row 1", "row 2"]
    one = sure_rows(labelled, unlabelled[:25], answers[:25], 5.0, np.random.default_rng(0))
    assert {record.target for record in one} == {"no"}


def test_a_row_is_drawn_as_often_as_its_label_is_sure() -> None:
    scores = np.log(np.asarray([[0.9, 0.1], [0.6, 0.4]]))
    answers = as_predictions(scores, ("no", "yes"))
    labelled, unlabelled = [Record({"text": "other"}, "no")], rows([None, None])
    drawn = [
        sure_rows(labelled, unlabelled, answers, 2.0, np.random.default_rng(seed))[0]
        for seed in range(2000)
    ]
    share = np.mean([record.texts["text"] == "row 0" for record in drawn])
    assert abs(share - 0.9 / 1.5) < 0.04
