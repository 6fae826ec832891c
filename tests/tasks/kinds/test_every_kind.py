"""What holds for every kind of task, whatever it is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest

from cuecard.errors import DataError
from cuecard.evaluation import score_predictions
from cuecard.tasks import KINDS, Task, TaskSpec
from cuecard.tasks.kinds.base import AnswerMode
from support.data.head_tasks import (
    answer_task,
    choice_task,
    number_task,
    several_task,
    tag_task,
)
from support.data.pairs import pair_task
from support.data.reviews import review_task, title_task
from support.tiny import tiny_tokenizer
from support.tiny_sam import blob_task, shared_sam
from support.tiny_vision import drawn_task
from support.tiny_vision import several_task as several_drawn_task

TASKS: dict[str, Callable[[], Task]] = {
    "classification": review_task,
    "text-to-text": title_task,
    "multi-label": several_task,
    "regression": number_task,
    "multiple-choice": choice_task,
    "tagging": tag_task,
    "extractive-qa": answer_task,
    "embedding": pair_task,
    "image-classification": drawn_task,
    "image-multi-label": several_drawn_task,
    "image-segmentation": lambda: blob_task(20),
}


def test_every_kind_is_tested() -> None:
    assert set(TASKS) == set(KINDS)
    assert {kind.mode for kind in KINDS.values()} == set(get_args(AnswerMode))


@pytest.mark.parametrize("name", TASKS)
def test_what_is_left_out_is_the_kinds_own(name: str) -> None:
    kind = KINDS[name]
    assert kind.name == name and kind.about
    labels = ("O", "B-X") if kind.labelled else ()
    spec = TaskSpec.parse({"kind": name, "template": kind.template, "labels": labels})
    assert spec.own == {} and spec.task_kind is kind
    assert not set(kind.settings.model_fields) & set(TaskSpec.model_fields)
    assert kind.instruction(spec).endswith(".\n\n")
    every = {name for other in KINDS.values() for name in other.settings.model_fields}
    assert every == set(TaskSpec.more_settings())


@pytest.mark.parametrize("name", TASKS)
def test_baselines_are_scored_by_the_kinds_metrics(name: str) -> None:
    task = TASKS[name]()
    kind, spec = task.spec.task_kind, task.spec
    baselines = list(kind.baselines(spec, task.train, task.test))
    assert baselines and len({each.key for each in baselines}) == len(baselines)
    for each in baselines:
        found = score_predictions(spec, task.test, each.predict(), resamples=50)
        assert (found.primary == kind.metric and 0 <= found.score <= 1) or name == "regression"
        assert {kind.metric, kind.second} <= set(found.metrics)
        if kind.hand_written is not None:
            assert kind.hand_written.metric in found.metrics
    assert len(kind.headings) == 2


@pytest.mark.parametrize("name", TASKS)
def test_a_row_has_a_target_or_a_goal_only_where_the_record_has_one(name: str) -> None:
    task, masked = TASKS[name](), KINDS[name].mode == "pixels"
    tokenizer = shared_sam().tokenizer if masked else tiny_tokenizer()
    spec, record = task.spec, task.train[0]
    for row in spec.encode_all(record, tokenizer):
        assert bool(row.region and row.region.goal) is masked
        assert bool(row.goal) is (spec.mode == "head")
        assert bool(row.target) is not (masked or bool(row.goal))
        if spec.mode == "head":
            assert spec.task_kind.count_goals([row]) >= 1
    bare = replace(record, target=None)
    for row in spec.encode_all(bare, tokenizer):
        assert not row.goal and not row.target and not (row.region and row.region.goal)
    with pytest.raises(DataError, match="has no target"):
        spec.task_kind.check_target(spec, bare)


# A mask's text is its digest alone.
@pytest.mark.parametrize("name", [name for name in TASKS if KINDS[name].mode != "pixels"])
def test_a_target_and_its_text_are_the_same(name: str) -> None:
    task, tokenizer = TASKS[name](), tiny_tokenizer()
    spec, values = task.spec, (task.train, task.test)
    lists = ("multi-label", "image-multi-label", "tagging", "extractive-qa")
    kept = dict.fromkeys(lists, tuple)
    assert {type(record.target) for record in task.train} == {kept.get(name, str)}
    texts = [[replace(r, target=spec.target_text(r)) for r in rows] for rows in values]
    for value, text in zip(task.train[:9], texts[0][:9], strict=True):
        assert isinstance(text.target, str) and spec.with_value(text) == value
        assert spec.encode_all(value, tokenizer) == spec.encode_all(text, tokenizer)
    first, second = (next(spec.task_kind.baselines(spec, *rows)) for rows in (values, texts))
    answers = first.predict()
    assert second.predict() == answers
    found = [score_predictions(spec, test, answers, resamples=50) for _, test in (values, texts)]
    assert found[0].to_dict() == found[1].to_dict() and found[0].gold == found[1].gold
    cut = [Task.from_records(spec, [*train, *test], limit=40) for train, test in (values, texts)]
    assert cut[0] == cut[1]
