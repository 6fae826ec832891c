"""Every kind's metrics against scikit-learn, scipy and cases worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata, spearmanr
from sklearn.metrics import f1_score, mean_absolute_error, mean_squared_error, r2_score

from cuecard.errors import ConfigError, DataError
from cuecard.evaluation import gain, score_predictions
from cuecard.evaluation.evaluate import Evaluation
from cuecard.metrics.statistics import macro_f1, micro_f1, ranks
from cuecard.types import Prediction, Record
from support.data.head_tasks import ANSWER, CHOICE, NUMBER, SEVERAL

FEW = 300


def several(shift: float = 0.0) -> Evaluation:
    rng = np.random.default_rng(0)
    true = rng.random((50, 3)) < 0.4
    said = true ^ (np.random.default_rng(1).random((50, 3)) < 0.2 + shift)

    def text(row: np.ndarray) -> str:
        return ",".join(x for x, held in zip(SEVERAL.labels, row, strict=True) if held)

    records = [Record({"text": f"{i}"}, text(row)) for i, row in enumerate(true)]
    answers = [Prediction(i, text(row), {}, {}) for i, row in enumerate(said)]
    found = score_predictions(SEVERAL, records, answers, resamples=FEW)
    if not shift:
        for name in ("micro", "macro"):
            assert found.metrics[f"{name}_f1"] == pytest.approx(f1_score(true, said, average=name))
        each = f1_score(true, said, average=None)
        ours = [found.metrics["per_class"][label]["f1"] for label in SEVERAL.labels]
        assert ours == pytest.approx(list(each))
        assert found.metrics["exact_match"] == pytest.approx((true == said).all(1).mean())
    return found


def test_labels_of_which_several_hold() -> None:
    found = several()
    assert found.primary == "micro_f1"
    assert found.ci95["micro_f1"].low < found.score < found.ci95["micro_f1"].high


def test_gains_of_what_is_no_mean() -> None:
    better, worse = several(), several(0.3)
    found = gain(better, worse)
    assert found.value == pytest.approx(better.score - worse.score)
    assert 0 < found.ci95.low < found.value < found.ci95.high
    same = gain(better, better).ci95
    assert -0.06 < same.low < 0 < same.high < 0.06
    with pytest.raises(ConfigError, match="row by row"):
        gain(better, worse, metric="per_class")


def test_numbers() -> None:
    rng = np.random.default_rng(2)
    true = rng.normal(50, 10, 80).round(1)
    said = true + rng.normal(0, 5, 80)
    records = [Record({"text": f"{i}"}, repr(float(x))) for i, x in enumerate(true)]
    answers = [Prediction(i, "", {"value": float(x)}, {}) for i, x in enumerate(said)]
    found = score_predictions(NUMBER, records, answers, resamples=FEW)
    oracle = {
        "rmse": mean_squared_error(true, said) ** 0.5,
        "mae": mean_absolute_error(true, said),
        "r2": r2_score(true, said),
        "pearson": pearsonr(true, said).statistic,
        "spearman": spearmanr(true, said).statistic,
    }
    assert {name: found.metrics[name] for name in oracle} == pytest.approx(oracle)
    assert all(
        found.ci95[name].low < value < found.ci95[name].high for name, value in oracle.items()
    )
    with pytest.raises(ConfigError, match="right or wrong"):
        _ = found.correct


def test_few_or_constant_numbers_have_no_interval() -> None:
    def scored(values: list[float]) -> Evaluation:
        records = [Record({"text": f"{i}"}, f"{i}") for i in range(len(values))]
        answers = [Prediction(i, "", {"value": x}, {}) for i, x in enumerate(values)]
        return score_predictions(NUMBER, records, answers)

    assert scored([1.5]).ci95 == {} and scored([0.5, 1.5, 2.0]).ci95 == {}
    constant = scored([3.0] * 8)
    assert set(constant.ci95) == {"rmse", "mae", "r2"}
    assert constant.metrics["pearson"] == constant.metrics["spearman"] == 0
    assert scored([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).ci95 == {}  # no error varies
    unknown = gain(scored([0.5, 1.5, 2.0]), scored([0.0, 1.0, 1.0])).ci95
    assert (unknown.low, unknown.high) == (-np.inf, np.inf)
    assert np.isinf(gain(constant, constant).ci95.high)


def test_ranks_share_their_mean() -> None:
    values = np.random.default_rng(3).integers(0, 6, 30).astype(float)
    assert ranks(values).tolist() == rankdata(values).tolist()


def test_f1_does_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(4)
    true = (rng.random((40, 3)) < 0.4).astype(float)
    said = (rng.random((40, 3)) < 0.4).astype(float)
    order = rng.permutation(40)
    for make in (micro_f1, macro_f1):
        one = make(true * said, said, true)
        two = make((true * said)[order], said[order], true[order])
        assert one.interval(0, 200) == two.interval(0, 200) != one.interval(1, 200)


def test_a_label_without_errors_is_not_certain() -> None:
    true = np.eye(3)[[0] * 30 + [1] * 9 + [2]]
    found = macro_f1(true, true, true)
    assert found.value() == 1.0
    assert found.interval(0).low < 0.9 and found.interval(0).high == 1.0


def test_answers_take_the_best_of_several() -> None:
    target = json.dumps({"text": ["the red fox", "fox"], "answer_start": [0, 8]})
    record = Record({"question": "who", "context": "the red fox ran"}, target)
    for answer, exact, f1 in (("A fox!", 1.0, 1.0), ("red dog", 0.0, 0.5), ("", 0.0, 0.0)):
        found = score_predictions(ANSWER, [record], [Prediction(0, answer, {}, {})])
        assert found.metrics == pytest.approx({"exact_match": exact, "token_f1": f1})


def test_choices() -> None:
    records = [Record({"question": "q", "options": '["a", "b"]'}, "a") for _ in range(2)]
    answers = [Prediction(0, "a", {}, {}), Prediction(1, "b", {}, {})]
    assert score_predictions(CHOICE, records, answers).score == 0.5
    wrong = [Record({"question": "q", "options": '["a", "b"]'}, "c")]
    with pytest.raises(DataError, match="not in the list"):
        score_predictions(CHOICE, wrong, answers[:1])
