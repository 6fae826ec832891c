from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from cuecard.tasks.encoding.label_words import LabelWords
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Record
from support.tiny import tiny_tokenizer

LABELS = ("good", "good for one", "good for none", "bad")


def spec_of(labels: tuple[str, ...] = LABELS, **more: Any) -> TaskSpec:
    return TaskSpec(kind="classification", template="{text} :", labels=labels, **more)


def test_a_label_that_begins_others_does_not_go_on_as_them() -> None:
    words = LabelWords.of([(1,), (1, 2, 3), (1, 4), (5,)], exclusive=True)
    assert words.barred == ((2, 4), (), (), ())
    assert words.asked == ((1,), (1, 2, 3), (1, 4), (5,), (1, 2), (1, 4))
    sums = torch.tensor([0.5, 0.1, 0.05, 0.3, 0.2, 0.05]).log()
    expected = [0.5 * (1 - (0.2 + 0.05) / 0.5), 0.1, 0.05, 0.3]
    assert words.scores(sums).exp().tolist() == pytest.approx(expected)


def test_the_longer_label_can_win() -> None:
    sums = torch.tensor([0.9, 0.6, 0.6]).log()  # "home", "home improvement", "home" and what barred
    exclusive = LabelWords.of([(1,), (1, 2)], exclusive=True).scores(sums)
    assert exclusive.exp().tolist() == pytest.approx([0.3, 0.6])
    inclusive = LabelWords.of([(1,), (1, 2)], exclusive=False).scores(sums[:2])
    assert inclusive[0] > inclusive[1]


def test_a_label_that_surely_goes_on_has_a_finite_score() -> None:
    words = LabelWords.of([(1,), (1, 2)], exclusive=True)
    found = words.scores(torch.tensor([-0.5, -0.5, -0.5]))
    assert found[0] < -10 and bool(torch.isfinite(found).all())


def test_inclusive_labels_are_sums_alone() -> None:
    words = LabelWords.of([(1,), (1, 2)], exclusive=False)
    sums = torch.tensor([-1.0, -2.0])
    assert words.asked == ((1,), (1, 2)) and words.scores(sums) is not None
    assert words.scores(sums).tolist() == [-1.0, -2.0]


def test_some_of_the_labels_are_barred_from_what_all_are() -> None:
    words = LabelWords.of([(1,), (1, 2), (5,)], exclusive=True).some([2, 0])
    assert words.words == ((5,), (1,)) and words.asked == ((5,), (1,), (1, 2))


def test_a_row_knows_what_would_make_its_target_another_label() -> None:
    tokenizer = tiny_tokenizer()
    rows = [spec_of().encode(Record({"text": "x"}, label), tokenizer) for label in LABELS]
    good, *longer = spec_of().continuations(tokenizer)[:3]
    assert rows[0].barred == tuple(dict.fromkeys(ids[len(good)] for ids in longer))
    assert not any(row.barred for row in rows[1:])
    old = spec_of(prefix_labels="inclusive")
    assert not old.encode(Record({"text": "x"}, "good"), tokenizer).barred


def test_options_of_a_row_exclude_each_other() -> None:
    spec = TaskSpec(kind="multiple-choice", template="{text} :")
    options = '["good", "good for one"]'
    row = spec.encode(Record({"text": "x", "options": options}, "good"), tiny_tokenizer())
    assert len(row.barred) == 1


def test_only_a_spec_that_needs_it_says_that_labels_exclude_each_other() -> None:
    tokenizer = tiny_tokenizer()
    plain, nested = spec_of(("good", "bad")), spec_of()
    assert plain.recorded(tokenizer).model_dump() == plain.model_dump()
    assert "prefix_labels" not in plain.model_dump()
    assert nested.recorded(tokenizer).model_dump()["prefix_labels"] == "exclusive"
    saved = nested.recorded(tokenizer).model_dump(mode="json")
    assert TaskSpec.of_prompt(saved).is_same(nested, tokenizer)


def test_a_spec_saved_before_labels_excluded_each_other_scores_as_it_did() -> None:
    tokenizer = tiny_tokenizer()
    old = TaskSpec.of_prompt(spec_of().model_dump(mode="json"))
    assert not any(old.label_words(tokenizer).barred)
    assert old.model_dump() == spec_of().model_dump()
    assert not old.is_same(spec_of(), tokenizer)
    two = spec_of(("good", "bad"))
    assert TaskSpec.of_prompt(two.model_dump(mode="json")).is_same(two, tokenizer)


def test_log_probabilities_add_up_to_those_of_what_comes_next() -> None:
    """Disjoint labels: what the shorter ones lose is what goes on as the longer ones."""
    words = LabelWords.of([(1,), (1, 2), (1, 2, 3)], exclusive=True)
    sums = torch.tensor([0.6, 0.3, 0.1, 0.3, 0.1]).log()
    assert float(words.scores(sums).exp().sum()) == pytest.approx(0.6)
    assert math.isclose(float(words.scores(sums)[1].exp()), 0.2, rel_tol=1e-5)
