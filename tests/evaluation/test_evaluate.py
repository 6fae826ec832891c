import json

import numpy as np
import pytest
import torch

from cuecard.errors import ConfigError, DataError
from cuecard.evaluation.evaluate import evaluate, gain, prompt_tokens, score_predictions
from cuecard.evaluation.predict import predict
from cuecard.metrics.intervals import mean_interval, paired_interval
from cuecard.tasks.spec import TaskSpec
from cuecard.types import InputTokens, Prediction, Record
from support.tiny import tiny_backbone

SPEC = TaskSpec(
    kind="classification",
    template="Review: {text}\nSentiment:",
    labels=("negative", "positive"),
)
TEXT = TaskSpec(kind="text-to-text", template="{text}\nOut:", max_new_tokens=4)
WORDS = ["one", "of", "the", "best", "films", "a", "gob", "drivel", "warm", "funny", "true"]


def records(n, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Record(
            {"text": " ".join(rng.choice(WORDS, 4))}, str(rng.choice(SPEC.labels)), "f.csv", i + 2
        )
        for i in range(n)
    ]


def answered(rows, share, seed=1):
    """Predictions of which about `share` are right."""
    rng = np.random.default_rng(seed)
    wrong = {"negative": "positive", "positive": "negative"}
    answers = [r.target if rng.random() < share else wrong[r.target] for r in rows]
    return [Prediction(i, a, {}, {}) for i, a in enumerate(answers)]


@pytest.fixture(scope="module")
def backbone():
    torch.set_num_threads(1)
    return tiny_backbone()


def test_evaluate_is_predict_and_its_metrics(backbone):
    rows = records(20)
    injection = InputTokens(torch.randn(5, 32, generator=torch.Generator().manual_seed(0)))
    seen = []
    found = evaluate(backbone, SPEC, rows, injection, batch_rows=8, on_rows=seen.append)
    expected = predict(backbone, SPEC, rows, injection, batch_rows=8)
    assert list(found.predictions) == expected
    right = [float(p.answer == r.target) for p, r in zip(expected, rows, strict=True)]
    assert found.correct.tolist() == right
    assert found.score == found.metrics["accuracy"] == pytest.approx(np.mean(right))
    assert found.ci95["accuracy"] == mean_interval(right)
    assert found.ci95["macro_f1"].low <= found.metrics["macro_f1"] <= found.ci95["macro_f1"].high
    assert found.metrics["ece"] is not None
    assert sum(seen) == 20
    assert found.seconds > 0
    assert found.tokens_per_request == prompt_tokens(SPEC, backbone.tokenizer) + 5


def test_prompt_tokens_are_the_templates_own(backbone):
    ids = backbone.tokenizer("Review: \nSentiment:", add_special_tokens=False)["input_ids"]
    assert prompt_tokens(SPEC, backbone.tokenizer) == len(ids)


def test_predictions_file(backbone, tmp_path):
    rows = records(6)
    found = evaluate(backbone, SPEC, rows)
    path = found.save_predictions(tmp_path / "new" / "predictions.jsonl")
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [line["row"] for line in lines] == [2, 3, 4, 5, 6, 7]
    for line, row, prediction in zip(lines, rows, found.predictions, strict=True):
        assert line["source"] == "f.csv"
        assert line["fields"] == {"text": row.fields["text"]}
        assert line["gold"] == row.target
        assert line["answer"] == prediction.answer
        assert line["correct"] is (row.target == prediction.answer)
        assert line["scores"] == dict(prediction.scores)
        assert sum(line["probabilities"].values()) == pytest.approx(1)


def test_text_to_text(backbone, tmp_path):
    rows = records(4)
    found = evaluate(backbone, TEXT, rows)
    assert set(found.metrics) == set(found.ci95) == {"exact_match", "token_f1", "rouge_l"}
    assert found.primary == "exact_match"
    line = json.loads(
        found.save_predictions(tmp_path / "p.jsonl").read_text("utf-8").split("\n")[0]
    )
    assert {"token_f1", "rouge_l", "answer", "correct"} <= set(line)


def test_summary_is_json(backbone):
    summary = evaluate(backbone, SPEC, records(6)).to_dict()
    loaded = json.loads(json.dumps(summary, allow_nan=False))
    assert loaded["rows"] == 6
    assert len(loaded["ci95"]["accuracy"]) == 2
    assert np.sum(loaded["metrics"]["confusion"]) == 6


def test_one_record_has_a_wide_interval(backbone):
    found = evaluate(backbone, SPEC, records(1))
    assert found.score in (0.0, 1.0)
    for name in ("accuracy", "macro_f1"):
        assert found.ci95[name].low <= found.metrics[name] <= found.ci95[name].high
        assert found.ci95[name].high - found.ci95[name].low > 0.7
    same = gain(found, found)
    assert same.ci95.low < -0.5 and same.ci95.high > 0.5


def test_gain_is_paired():
    rows = records(200)
    good = score_predictions(SPEC, rows, answered(rows, 0.9))
    poor = score_predictions(SPEC, rows, answered(rows, 0.6, seed=2))
    found = gain(good, poor)
    assert found.metric == "accuracy"
    assert found.value == pytest.approx(good.score - poor.score)
    assert found.ci95 == paired_interval(good.correct, poor.correct)
    assert 0 < found.ci95.low < found.value < found.ci95.high
    same = gain(good, good)
    assert same.value == 0.0 and 0 < same.ci95.high == -same.ci95.low < 0.02


def test_gain_refuses_what_cannot_be_paired():
    rows = records(10)
    one = score_predictions(SPEC, rows, answered(rows, 0.9))
    other = score_predictions(SPEC, rows[::-1], answered(rows[::-1], 0.9))
    with pytest.raises(ConfigError, match="same records"):
        gain(one, other)
    with pytest.raises(ConfigError, match="row by row"):
        gain(one, one, metric="ece")


def test_records_without_a_usable_target_are_refused(backbone):
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        evaluate(backbone, SPEC, [])
    with pytest.raises(DataError, match=r"f\.csv, row 9"):
        evaluate(backbone, SPEC, [Record({"text": "x"}, None, "f.csv", 9)])
    with pytest.raises(DataError, match="neutral"):
        evaluate(backbone, SPEC, [Record({"text": "x"}, "neutral", "f.csv", 9)])
    rows = records(3)
    with pytest.raises(ConfigError, match="different lengths"):
        score_predictions(SPEC, rows, answered(rows[:2], 1.0))
