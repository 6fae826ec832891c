"""A head's outputs as answers: thresholds, spans, tags."""

from __future__ import annotations

import numpy as np
import pytest

from cuecard.errors import ConfigError
from cuecard.evaluation import score_predictions
from cuecard.tasks.encoding.bound import bind
from cuecard.tasks.kinds.extractive_qa import ANSWER_TOKENS, EXTRACTIVE_QA
from cuecard.tasks.kinds.multi_label import MULTI_LABEL
from cuecard.tasks.kinds.regression import REGRESSION
from cuecard.tasks.kinds.tagging import TAGGING
from cuecard.types import Record
from support.data.head_tasks import (
    ANSWER,
    NUMBER,
    SEVERAL,
    TAGS,
    answer_task,
    choice_task,
    number_task,
    several_task,
    tag_task,
)
from support.tiny import tiny_tokenizer


def f1(outputs: np.ndarray, gold: np.ndarray, threshold: float) -> float:
    said = outputs > threshold
    return float(2 * (said & (gold > 0)).sum() / (said.sum() + gold.sum()))


def test_thresholds_have_the_best_f1_there_is() -> None:
    rng = np.random.default_rng(0)
    gold = (rng.random((40, 3)) < 0.3).astype(float)
    outputs = gold * 1.5 + rng.normal(size=(40, 3)) - 1.5
    found = MULTI_LABEL.thresholds(SEVERAL, outputs, gold.tolist())
    for k, label in enumerate(SEVERAL.labels):
        every = [outputs[:, k].min() - 1, 0.0, *outputs[:, k]]
        best = max(f1(outputs[:, k], gold[:, k], threshold) for threshold in every)
        assert f1(outputs[:, k], gold[:, k], found[label]) == pytest.approx(best)


def test_a_threshold_that_is_no_better_stays_at_zero() -> None:
    gold = np.asarray([[1.0, 0, 0], [0, 1, 0]])
    found = MULTI_LABEL.thresholds(SEVERAL, gold * 2 - 1, gold.tolist())
    assert found == {"dog": 0.0, "fox": 0.0, "fun": 0.0}


def test_labels_above_their_thresholds() -> None:
    outputs = np.asarray([[1.0, -1.0, 0.5], [-1.0, -1.0, -1.0]])
    both = MULTI_LABEL.answers(SEVERAL, outputs, None)
    assert [p.answer for p in both] == ["dog,fun", ""]
    shifted = MULTI_LABEL.answers(SEVERAL, outputs, {"dog": 2.0, "fox": -2.0, "fun": 0.0})
    assert [p.answer for p in shifted] == ["fox,fun", "fox"]
    assert shifted[0].probabilities["fun"] == pytest.approx(1 / (1 + np.exp(-0.5)))


def test_words_without_a_read_are_outside() -> None:
    records = [Record({"tokens": "a b c"}, None)]
    (found,) = TAGGING.head_answers(
        TAGS, records, [np.asarray([[0, 9, 0, 0], [0, 0, 0, 9]])], tiny_tokenizer()
    )
    assert found.answer == "B-PER B-LOC O"


def test_the_best_span_of_all_windows() -> None:
    spec = ANSWER.model_copy(update={"max_length": 40})
    record = answer_task(60, words=60).test[0]
    tokenizer = tiny_tokenizer()
    windows = EXTRACTIVE_QA.windows(spec, record, tokenizer)
    assert len(windows) > 2
    outputs = [np.zeros((window.count + 1, 2)) for window in windows]
    outputs[0][:2] = 5.0, 5.0
    outputs[0][-1] = 9.0  # this window is sure that it is not here
    outputs[1][3, 0] = outputs[1][4, 1] = 3.0
    outputs[1][1, 1] = 50.0  # an end before its start
    outputs[1][0, 0] = -100.0
    outputs[1][1, 0] = outputs[1][2, 0] = -100.0
    (found,) = EXTRACTIVE_QA.head_answers(spec, [record], outputs, tokenizer)
    around, tokens = EXTRACTIVE_QA.tokens(record, bind(spec, tokenizer))
    first = windows[1].first
    text = around.text[around.space :][tokens.starts[first + 3] : tokens.ends[first + 4]]
    assert found.answer == text.strip() != ""
    assert found.scores["span"] == 6.0


def test_answers_are_not_too_long() -> None:
    record = answer_task(30, words=60).test[0]
    (window,) = EXTRACTIVE_QA.windows(ANSWER, record, tiny_tokenizer())
    output = np.zeros((window.count + 1, 2))
    output[0, 0] = output[ANSWER_TOKENS, 1] = 5.0
    (found,) = EXTRACTIVE_QA.head_answers(ANSWER, [record], [output], tiny_tokenizer())
    assert found.scores["span"] == 5.0


def test_baselines() -> None:
    for make in (several_task, number_task, tag_task, answer_task, choice_task):
        task = make()
        first, *_ = task.spec.task_kind.baselines(task.spec, task.train, task.test)
        found = score_predictions(task.spec, task.test, first.predict())
        assert first.name and len(found.predictions) == len(task.test)
        if task.spec.kind == "tagging":
            assert found.score > 0.95  # these words have one tag each
        if task.spec.kind == "regression":
            assert abs(found.score) < 0.2
    (mean,) = REGRESSION.baselines(NUMBER, (), ())
    with pytest.raises(ConfigError, match="no baseline"):
        mean.predict()
