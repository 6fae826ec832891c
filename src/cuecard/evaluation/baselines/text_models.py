"""Linear models of texts without a prompt: what a prompt has to beat to be worth a backbone.

TF-IDF of word pairs with logistic regression or ridge regression, and the same models on sentence
vectors. How much the weights are shrunk is chosen on validation rows.

scikit-learn is imported when the first model is fitted.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cuecard.errors import ConfigError
from cuecard.lazy import lazy_module, np
from cuecard.tasks.kinds import KINDS
from cuecard.tasks.spec import TaskSpec
from cuecard.tasks.splits import draw_rows
from cuecard.tasks.text_features import nothing_to_fit, text_of, vectorizers
from cuecard.types import Prediction, Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    _Outcome = tuple[list[Prediction], float, float]
    _Model = Callable[[float, bool], Any]
    _Outputs = Callable[[Any], Floats]

sklearn_linear = lazy_module("sklearn.linear_model")
sklearn_pipeline = lazy_module("sklearn.pipeline")
sklearn_scaling = lazy_module("sklearn.preprocessing")
sklearn_errors = lazy_module("sklearn.exceptions")

# Inverse strengths of the penalty on the weights: scikit-learn's C, and 1 / alpha of a ridge.
STRENGTHS = (0.3, 3.0, 30.0)
# More rows than these take minutes and add little.
_MOST_ROWS = 20_000
# The strength is chosen with so many training rows at most, where there are many labels.
_SEARCH_ROWS = 2_000
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Fitted:
    """A linear model on the test rows.

    Attributes:
        predictions: of the test rows.
        strength: the one of `STRENGTHS` with the best validation score.
        score: that score, of the kind's primary metric.
        weights: how many numbers were fitted.
        nbytes: the model's weights as float32 and its vocabulary as text.
        cpu_seconds: of features, search and fit.
        features: what it reads, in words.
    """

    predictions: list[Prediction]
    strength: float
    score: float
    weights: int
    nbytes: int
    cpu_seconds: float
    features: str


def fit_tfidf(
    spec: TaskSpec,
    train: Sequence[Record],
    validation: Sequence[Record],
    test: Sequence[Record],
) -> Fitted:
    """TF-IDF of the rows' texts with a linear model.

    N-grams of one and two words, and of two to four characters where there is not much text:
    these know of endings, of misspelt words, and of languages that write no spaces.

    Raises:
        ConfigError: a kind without a linear model, or training rows that leave nothing to fit.
    """
    started = time.process_time()
    rows = [draw_rows(train, _MOST_ROWS, "tf-idf"), validation, test]
    texts = [[text_of(spec, record) for record in records] for records in rows]
    parts, features = vectorizers(texts[0])
    vectorizer = sklearn_pipeline.FeatureUnion(
        [(str(number), part) for number, part in enumerate(parts)]
    )
    try:
        read = [vectorizer.fit_transform(texts[0]), *map(vectorizer.transform, texts[1:])]
    except ValueError as error:  # no words at all
        raise nothing_to_fit(str(error)) from error
    found = _fit(spec, list(zip(rows, read, strict=True)), _sparse_model)
    terms = [term for part in parts for term in part.get_feature_names_out()]
    # Weights, one number per term for its rarity, and the terms themselves.
    count = _weights(spec) * (len(terms) + 1)
    size = 4 * (count + len(terms)) + len("".join(terms).encode())
    return _timed(found, count, size, started, features)


def fit_vectors(
    spec: TaskSpec,
    rows: Sequence[tuple[Sequence[Record], Floats]],
    features: str,
    cpu_seconds: float = 0.0,
) -> Fitted:
    """A linear model on the rows' vectors.

    Args:
        rows: records and their vectors [n, H], of training, validation and test.
        features: what the vectors are, in words.
        cpu_seconds: what making them took.

    Raises:
        ConfigError: as `fit_tfidf`.
    """
    started = time.process_time() - cpu_seconds
    found = _fit(spec, rows, _dense_model)
    count = _weights(spec) * (int(rows[0][1].shape[1]) + 1)
    return _timed(found, count, 4 * count, started, features)


def _timed(found: _Outcome, count: int, size: int, started: float, features: str) -> Fitted:
    predictions, strength, worth = found
    spent = time.process_time() - started
    return Fitted(predictions, strength, worth, count, size, spent, features)


def _sparse_model(strength: float, is_number: bool) -> Any:
    if is_number:
        return sklearn_linear.Ridge(alpha=1.0 / strength)
    return sklearn_linear.LogisticRegression(C=strength, solver="liblinear")


def _dense_model(strength: float, is_number: bool) -> Any:
    model: Any
    if is_number:
        model = sklearn_linear.Ridge(alpha=100.0 / strength)
    else:
        model = sklearn_linear.LogisticRegression(C=strength / 100.0, max_iter=200)
    return sklearn_pipeline.make_pipeline(sklearn_scaling.StandardScaler(), model)


def _fit(spec: TaskSpec, rows: Sequence[tuple[Sequence[Record], Any]], model: _Model) -> _Outcome:
    """Predictions of the test rows, the best strength, and its validation score."""
    kind = spec.task_kind
    if kind.text_model is None:
        raise ConfigError(
            "a linear model of the texts cannot do this kind",
            where="kind",
            got=spec.kind,
            expected=", ".join(name for name, other in KINDS.items() if other.text_model),
        )
    (train, read), validation, test = rows
    goals = _goals(spec, train)
    few = np.arange(len(train))
    if goals.size > 20 * _SEARCH_ROWS:
        few = np.sort(np.random.default_rng(0).permutation(few)[:_SEARCH_ROWS])
    gold = [spec.with_value(record).target for record in validation[0]]
    tried = []
    for strength in STRENGTHS:
        outputs = _fitted(spec, model, strength, read[few], goals[few])(validation[1])
        found = kind.score(spec, gold, kind.answers(spec, outputs))
        tried.append((float(found.metrics[kind.metric]), -strength))
    worth, smallest = max(tried)
    final = _fitted(spec, model, -smallest, read, goals)
    wanted = [kind.goal(spec, record) for record in validation[0]]
    thresholds = kind.thresholds(spec, final(validation[1]), wanted)  # as a trained head's are
    return kind.answers(spec, final(test[1]), thresholds), -smallest, worth


def _goals(spec: TaskSpec, train: Sequence[Record]) -> Floats:
    """[n, K] 0 and 1 for each label, or [n, 1] standardised numbers."""
    kind = spec.task_kind
    goals = np.asarray([kind.goal(spec, record) for record in train])
    if kind.text_model == "classes":
        return np.asarray(np.eye(len(spec.labels))[goals[:, 0].astype(int)])
    return goals


def _fitted(spec: TaskSpec, model: _Model, strength: float, read: Any, goals: Floats) -> _Outputs:
    """Rows as read -> [m, K] logits, log-probabilities or standardised numbers.

    Raises:
        ConfigError: no two goals differ.
    """
    if len(np.unique(goals, axis=0)) < 2:
        raise nothing_to_fit("one and the same target in every training row")
    with warnings.catch_warnings():
        # What has not converged is judged by its validation score as everything is.
        warnings.simplefilter("ignore", sklearn_errors.ConvergenceWarning)
        if spec.task_kind.text_model == "number":
            number = model(strength, True).fit(read, goals[:, 0])
            return lambda other: np.asarray(number.predict(other)).reshape(-1, 1)
        if spec.task_kind.text_model == "labels":
            each = [_one_label(model, strength, read, column) for column in goals.T]
            return lambda other: np.stack([logits(other) for logits in each], 1)
        if model is _dense_model:
            return _all_labels(model(strength, False).fit(read, goals.argmax(1)), goals.shape[1])
        # The sparse model's solver is for two labels: one against all others, shares normalised.
        columns = goals.T[1:] if goals.shape[1] == 2 else goals.T
        single = [_one_label(model, strength, read, column) for column in columns]

    def shares(other: Any) -> Floats:
        logits = np.stack([label(other) for label in single], 1)
        if logits.shape[1] == 1:
            logits = np.concatenate([-logits, logits], 1)
        return -np.logaddexp(0.0, -logits)

    return shares


def _all_labels(fitted: Any, count: int) -> _Outputs:
    """Log-probabilities of all labels; of those that training rows do not have, hardly any."""

    def shares(other: Any) -> Floats:
        found = np.full((other.shape[0], count), np.log(_LEAST))
        found[:, fitted.classes_] = np.log(np.maximum(fitted.predict_proba(other), _LEAST))
        return found

    return shares


def _one_label(model: _Model, strength: float, read: Any, column: Floats) -> _Outputs:
    """A label's log-odds [m] against all others."""
    if column.min() == column.max():
        constant = float(np.log(_LEAST)) * (1.0 if column[0] == 0 else -1.0)
        return lambda other: np.full(other.shape[0], constant)
    fitted = model(strength, False).fit(read, column)
    return lambda other: np.asarray(fitted.decision_function(other))


def _weights(spec: TaskSpec) -> int:
    """Rows of weights: one for two labels."""
    if spec.task_kind.text_model == "classes" and len(spec.labels) == 2:
        return 1
    return max(1, len(spec.labels))
