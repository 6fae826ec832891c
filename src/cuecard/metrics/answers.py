"""What predictions are worth against the truth. Pure functions.

References: calibration error, Guo et al. 2017 (arXiv:1706.04599); exact match and token F1,
Rajpurkar et al. 2016 (arXiv:1606.05250); ROUGE-L, Lin 2004.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cuecard.errors import ConfigError
from cuecard.lazy import lazy_module, np
from cuecard.types import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
else:
    Floats = Any

sklearn_metrics = lazy_module("sklearn.metrics")


BINS = 15


def classification_metrics(
    gold: Sequence[str], predictions: Sequence[Prediction], labels: Sequence[str]
) -> dict[str, Any]:
    """Accuracy and what belongs to it.

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
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        gold, answers, labels=names, zero_division=0.0
    )
    occurring = set(gold) | set(answers)
    present = [name for name in names if name in occurring]
    macro_f1 = sklearn_metrics.f1_score(
        gold, answers, labels=present, average="macro", zero_division=0.0
    )
    return {
        "accuracy": float(np.mean(correctness(gold, answers))),
        "macro_f1": float(macro_f1),
        "per_class": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, name in enumerate(names)
        },
        "confusion": sklearn_metrics.confusion_matrix(gold, answers, labels=names).tolist(),
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
    pairs = list(zip(gold, answers, strict=True))
    vectors = {
        "exact_match": np.asarray([exact_match(g, a) for g, a in pairs], dtype=np.float64),
        "token_f1": np.asarray([token_f1(g, a) for g, a in pairs], dtype=np.float64),
        "rouge_l": np.asarray([rouge_l(g, a) for g, a in pairs], dtype=np.float64),
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


def rouge_l(gold: str, answer: str) -> float:
    """ROUGE-L's F-measure (Lin 2004, section 3) of the lower-cased words, without stemming.

    With L the length of their longest common subsequence, P = L / answer words and R = L / gold
    words: 2 P R / (P + R); 0.0 where either has no words. The words are those of the package
    rouge-score, but of every script: it drops all letters but a to z.
    """
    truth, given = (_WORD.findall(text.lower()) for text in (gold, answer))
    common = _common_subsequence(truth, given)
    if not common:
        return 0.0
    precision, recall = common / len(given), common / len(truth)
    return 2 * precision * recall / (precision + recall)


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence, by the usual dynamic programme."""
    before = [0] * (len(second) + 1)
    for word in first:
        row = [0]
        for place, other in enumerate(second, 1):
            row.append(before[place - 1] + 1 if word == other else max(before[place], row[-1]))
        before = row
    return before[-1]


_PUNCTUATION = frozenset(string.punctuation)
_WORD = re.compile(r"[^\W_]+")


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
