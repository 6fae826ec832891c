"""Every kind's metrics against scikit-learn, scipy and cases worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import f1_score, mean_absolute_error, mean_squared_error, r2_score

from cuecard.errors import ConfigError, DataError
from cuecard.evaluation import gain, score_predictions
from cuecard.evaluation.evaluate import Evaluation
from cuecard.evaluation.statistics import pearson, r_squared, rmse, spearman
from cuecard.types import Prediction, Record
from head_tasks import ANSWER, CHOICE, NUMBER, SEVERAL

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
    assert gain(better, better).ci95.high == 0
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


def test_statistics_of_drawn_rows() -> None:
    rng = np.random.default_rng(3)
    true, said = rng.normal(size=20).round(1), rng.normal(size=20).round(1)
    rows = rng.integers(0, 20, (5, 20))
    for make, oracle in (
        (r_squared, r2_score),
        (rmse, lambda a, b: mean_squared_error(a, b) ** 0.5),
        (pearson, lambda a, b: pearsonr(a, b).statistic),
        (spearman, lambda a, b: spearmanr(a, b).statistic),
    ):
        drawn = make(true, said)(rows)
        assert drawn == pytest.approx([oracle(true[r], said[r]) for r in rows])


def test_a_constant_has_no_correlation() -> None:
    constant, other = np.ones(6), np.arange(6.0)
    rows = np.arange(6)[None]
    assert pearson(constant, other)(rows) == 0 and spearman(other, constant)(rows) == 0
    assert r_squared(other, np.full(6, other.mean()))(rows) == pytest.approx(0)


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
