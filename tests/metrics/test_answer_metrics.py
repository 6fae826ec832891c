import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score import rouge_scorer
from sklearn.metrics import accuracy_score, classification_report, f1_score

from cuecard.errors import ConfigError
from cuecard.metrics.answers import (
    calibration_error,
    classification_metrics,
    exact_match,
    label_counts,
    normalize_text,
    rouge_l,
    text_metrics,
    token_f1,
)
from cuecard.metrics.statistics import macro_f1
from cuecard.types import Prediction

LABELS = ("a", "b", "c")


def guesses(answers, probabilities=None):
    probabilities = probabilities or [{} for _ in answers]
    pairs = zip(answers, probabilities, strict=True)
    return [Prediction(i, a, {}, p) for i, (a, p) in enumerate(pairs)]


def test_hand_computed_case():
    gold = ["a", "a", "a", "b", "b", "c"]
    answers = ["a", "a", "b", "b", "c", "c"]
    metrics = classification_metrics(gold, guesses(answers), LABELS)
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert metrics["confusion"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert metrics["per_class"]["a"] == {
        "precision": 1.0,
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(0.8),
        "support": 3,
    }
    assert metrics["macro_f1"] == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert metrics["ece"] is None


def test_against_scikit_learn():
    rng = np.random.default_rng(0)
    gold = rng.choice(LABELS, 200).tolist()
    answers = [g if rng.random() < 0.6 else str(rng.choice(LABELS)) for g in gold]
    metrics = classification_metrics(gold, guesses(answers), LABELS)
    report = classification_report(gold, answers, output_dict=True)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(gold, answers))
    assert metrics["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    for label in LABELS:
        ours, theirs = metrics["per_class"][label], report[label]
        assert ours["f1"] == pytest.approx(theirs["f1-score"])
        assert ours["support"] == theirs["support"]


def test_a_label_that_never_occurs_does_not_lower_macro_f1():
    metrics = classification_metrics(["a", "b"], guesses(["a", "b"]), LABELS)
    assert metrics["macro_f1"] == 1.0
    assert metrics["per_class"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_label_counts_give_scikit_learns_macro_f1():
    rng = np.random.default_rng(1)
    gold = rng.choice(LABELS, 40, p=[0.6, 0.3, 0.1])
    answers = np.where(rng.random(40) < 0.5, gold, rng.choice(LABELS, 40))
    ours = macro_f1(*label_counts(gold.tolist(), answers.tolist(), LABELS)).value()
    assert ours == pytest.approx(f1_score(gold, answers, average="macro", zero_division=0.0))


def test_calibration_error_by_hand():
    # Bin (0.6, 0.667]: confidences 0.65 twice, one right -> 0.15; bin (0.867, 0.933]: 0.9, right.
    predictions = guesses(
        ["a", "a", "b"], [{"a": 0.65, "b": 0.35}, {"a": 0.65, "b": 0.35}, {"a": 0.1, "b": 0.9}]
    )
    expected = (2 / 3) * 0.15 + (1 / 3) * 0.1
    assert calibration_error(["a", "b", "b"], predictions) == pytest.approx(expected)


def test_calibration_error_against_a_plain_loop():
    rng = np.random.default_rng(2)
    share = rng.uniform(0.5, 1.0, 300)
    gold = rng.choice(["a", "b"], 300).tolist()
    predictions = guesses(["a"] * 300, [{"a": p, "b": 1 - p} for p in share])
    right = np.array([g == "a" for g in gold], dtype=float)
    expected = 0.0
    for low in range(15):
        inside = (share > low / 15) & (share <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(share[inside].mean() - right[inside].mean())
    assert calibration_error(gold, predictions) == pytest.approx(expected)


@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_calibration_error_at_the_ends(confidence):
    predictions = guesses(["a"], [{"a": confidence, "b": 1 - confidence}])
    assert calibration_error(["a"], predictions) == pytest.approx(1 - confidence)


def test_refusals():
    with pytest.raises(ConfigError, match="different lengths"):
        classification_metrics(["a"], [], LABELS)
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        classification_metrics([], [], LABELS)
    with pytest.raises(ConfigError, match="not one of the task's"):
        classification_metrics(["z"], guesses(["a"]), LABELS)
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        text_metrics([], [])


@pytest.mark.parametrize(
    ("gold", "answer", "match", "f1"),
    [
        ("The Cat sat.", "cat sat", 1.0, 1.0),
        ("a red house", "the blue house", 0.0, 0.5),
        ("one two three", "three", 0.0, 0.5),
        ("b b b", "b", 0.0, 0.5),
        ("the", "an", 1.0, 1.0),
        ("the", "word", 0.0, 0.0),
        ("yes", "", 0.0, 0.0),
        ("東京", "東京!", 1.0, 1.0),
    ],
)
def test_squad_metrics_by_hand(gold, answer, match, f1):
    assert exact_match(gold, answer) == match
    assert token_f1(gold, answer) == pytest.approx(f1)


def test_normal_form():
    assert normalize_text("  The  quick, brown\nFox's an ant ") == "quick brown foxs ant"


@given(words=st.lists(st.lists(st.sampled_from("abcde"), max_size=12), min_size=2, max_size=2))
def test_rouge_is_the_packages_on_any_words(words: list[list[str]]) -> None:
    gold, answer = (" ".join(some) for some in words)
    expected = rouge_scorer.RougeScorer(["rougeL"]).score(gold, answer)["rougeL"].fmeasure
    assert rouge_l(gold, answer) == expected


def test_rouge_is_the_packages_on_english_and_not_zero_elsewhere():
    gold = ["the cat sat on the mat", "a dog_house 9 ran", "Füße und Äpfel"]
    answers = ["cat on a mat", "dog ran a house", "füße Äpfel"]
    means, vectors = text_metrics(gold, answers)
    package = rouge_scorer.RougeScorer(["rougeL"])
    for i in range(2):
        assert vectors["rouge_l"][i] == package.score(gold[i], answers[i])["rougeL"].fmeasure
    assert vectors["rouge_l"][2] == pytest.approx(0.8)
    assert means["rouge_l"] == pytest.approx(vectors["rouge_l"].mean())
    assert set(means) == {"exact_match", "token_f1", "rouge_l"}
