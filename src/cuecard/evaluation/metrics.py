"""What predictions are worth against the truth. Pure functions.

References: calibration error, Guo et al. 2017 (arXiv:1706.04599); exact match and token F1,
Rajpurkar et al. 2016 (arXiv:1606.05250); ROUGE-L, Lin 2004.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rouge_score import rouge_scorer
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from cuecard.errors import ConfigError
from cuecard.types import Prediction

Floats = NDArray[np.float64]

BINS = 15


def classification_metrics(
    gold: Sequence[str], predictions: Sequence[Prediction], labels: Sequence[str]
) -> dict[str, Any]:
    """Accuracy and what stands behind it.

    Args:
        gold: the true label of each row.
        predictions: what was answered, in the same order.
        labels: every label of the task, in the order of the confusion matrix.

    Returns:
        `accuracy`, `macro_f1` (over the labels that occur in the truth or in the answers),
        `per_class` (label -> precision, recall, f1, support), `confusion` (rows are the truth,
        columns the answers), `ece` (None where the predictions carry no probabilities).

    Raises:
        ConfigError: no rows, lists of different lengths, a label that is not in `labels`.
    """
    answers = [prediction.answer for prediction in predictions]
    _check_rows(gold, answers)
    _check_labels([*gold, *answers], labels)
    names = list(labels)
    precision, recall, f1, support = precision_recall_fscore_support(
        gold, answers, labels=names, zero_division=0.0
    )
    occurring = set(gold) | set(answers)
    present = [name for name in names if name in occurring]
    return {
        "accuracy": float(np.mean(correctness(gold, answers))),
        "macro_f1": float(
            f1_score(gold, answers, labels=present, average="macro", zero_division=0.0)
        ),
        "per_class": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, name in enumerate(names)
        },
        "confusion": confusion_matrix(gold, answers, labels=names).tolist(),
        "ece": calibration_error(gold, predictions),
    }


def correctness(gold: Sequence[str], answers: Sequence[str]) -> Floats:
    """[n] 1.0 where the answer is the truth, else 0.0."""
    return np.asarray([float(g == a) for g, a in zip(gold, answers, strict=True)], dtype=np.float64)


def calibration_error(
    gold: Sequence[str], predictions: Sequence[Prediction], bins: int = BINS
) -> float | None:
    """Expected calibration error of the answer's probability, in `bins` bins of equal width.

    Bin k of K holds the confidences in (k/K, (k+1)/K]. None where a prediction carries no
    probabilities.
    """
    if not all(prediction.probabilities for prediction in predictions):
        return None
    confidence = np.asarray([p.probabilities[p.answer] for p in predictions], dtype=np.float64)
    right = correctness(gold, [p.answer for p in predictions])
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    # |mean confidence - accuracy| weighted by the bin's share is |sum of differences| / n.
    gaps = np.bincount(place, weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(predictions))


def label_counts(
    gold: Sequence[str], answers: Sequence[str], labels: Sequence[str]
) -> tuple[Floats, Floats, Floats]:
    """What F1 is made of, per row and label: [n, L] of 0 and 1 for hits, answers and truths."""
    code = {label: i for i, label in enumerate(labels)}
    rows = np.arange(len(gold))
    said, true = np.zeros((2, len(gold), len(code)))
    said[rows, [code[label] for label in answers]] = 1.0
    true[rows, [code[label] for label in gold]] = 1.0
    return said * true, said, true


def text_metrics(
    gold: Sequence[str], answers: Sequence[str]
) -> tuple[dict[str, float], dict[str, Floats]]:
    """Exact match, token F1 and ROUGE-L of generated texts.

    Returns:
        The means, and the per-row values behind them [n], both by the names `exact_match`,
        `token_f1`, `rouge_l`.

    Raises:
        ConfigError: no rows, or lists of different lengths.
    """
    _check_rows(gold, answers)
    scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=_WordTokenizer())
    pairs = list(zip(gold, answers, strict=True))
    vectors = {
        "exact_match": np.asarray([exact_match(g, a) for g, a in pairs], dtype=np.float64),
        "token_f1": np.asarray([token_f1(g, a) for g, a in pairs], dtype=np.float64),
        "rouge_l": np.asarray(
            [scorer.score(g, a)["rougeL"].fmeasure for g, a in pairs], dtype=np.float64
        ),
    }
    return {name: float(vector.mean()) for name, vector in vectors.items()}, vectors


def retrieval_metrics(
    gold: Sequence[str], predictions: Sequence[Prediction]
) -> tuple[dict[str, float], dict[str, Floats]]:
    """Whether the right text is among the first that were found, and how far in front.

    Args:
        gold: the text that belongs to each row.
        predictions: their scores name the texts found, the nearest first.

    Returns:
        The means, and the per-row values behind them [n], both by the names `recall@1`,
        `recall@5`, `recall@10` and `mrr@10` (1 / rank, 0 where it is not among ten).

    Raises:
        ConfigError: no rows, or lists of different lengths.
    """
    _check_rows(gold, [prediction.answer for prediction in predictions])
    found = [list(prediction.scores) for prediction in predictions]
    ranks = np.asarray(
        [
            texts.index(text) + 1 if text in texts else np.inf
            for text, texts in zip(gold, found, strict=True)
        ]
    )
    vectors = {f"recall@{k}": (ranks <= k).astype(np.float64) for k in (1, 5, 10)}
    vectors["mrr@10"] = np.where(ranks <= 10, 1 / ranks, 0.0)
    return {name: float(vector.mean()) for name, vector in vectors.items()}, vectors


def normalize_text(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no English articles, single spaces."""
    lowered = "".join(c for c in text.lower() if c not in _PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", lowered).split())


def exact_match(gold: str, answer: str) -> float:
    """1.0 where both have the same normal form, else 0.0."""
    return float(normalize_text(gold) == normalize_text(answer))


def token_f1(gold: str, answer: str) -> float:
    """The harmonic mean of precision and recall over the normal forms' words, as a multiset.

    Where either has no words, 1.0 if both have none, else 0.0.
    """
    truth, given = normalize_text(gold).split(), normalize_text(answer).split()
    if not truth or not given:
        return float(truth == given)
    common = sum((Counter(truth) & Counter(given)).values())
    return 2.0 * common / (len(truth) + len(given))


_PUNCTUATION = frozenset(string.punctuation)
_WORD = re.compile(r"[^\W_]+")


class _WordTokenizer:
    """rouge-score's own words, but of every script: its default drops all but a-z and 0-9."""

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text.lower())


def _check_rows(gold: Sequence[str], answers: Sequence[str]) -> None:
    if len(gold) != len(answers):
        raise ConfigError(
            "truth and answers have different lengths",
            got=f"{len(answers)} answers",
            expected=f"{len(gold)}",
        )
    if not gold:
        raise ConfigError("there is nothing to evaluate", got="0 rows", expected="at least 1")


def _check_labels(found: Sequence[str], labels: Sequence[str]) -> None:
    unknown = sorted(set(found) - set(labels))
    if unknown:
        raise ConfigError(
            "a label is not one of the task's",
            got=", ".join(unknown[:5]),
            expected=", ".join(labels),
        )
