"""What a trained head has to beat where no prompt written by hand could answer.

Each is learnt from the training rows alone and looks at the task's inputs as little as can be.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from cuecard.errors import ConfigError
from cuecard.evaluation.evaluate import Evaluation, score_predictions
from cuecard.lazy import np
from cuecard.metrics.statistics import f1_of
from cuecard.tasks.kinds import OUTSIDE, Kind, labels_of
from cuecard.tasks.readers.columns import options_of
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Prediction, Record

Baseline = Callable[[TaskSpec, Sequence[Record], Sequence[Record]], list[Prediction]]


def baseline(
    spec: TaskSpec, train: Sequence[Record], test: Sequence[Record], *, seed: int = 0
) -> tuple[str, Evaluation]:
    """The kind's baseline by name, and what it comes to on the test rows.

    Raises:
        ConfigError: a kind whose baselines are written by hand, or no training rows.
    """
    if spec.kind not in _BASELINES or not train:
        raise ConfigError("there is no baseline", got=f"{spec.kind}, {len(train)} rows")
    name, answer = _BASELINES[spec.kind]
    return name, score_predictions(spec, test, answer(spec, train, test), seed=seed)


def _labels(spec: TaskSpec, train: Sequence[Record], test: Sequence[Record]) -> list[Prediction]:
    """The commonest labels, as many as have the best micro-F1 on the training rows."""
    counts = Counter(label for r in train for label in labels_of(spec, r.target or ""))
    order = sorted(spec.labels, key=lambda label: (-counts[label], label))
    hits = np.cumsum([float(counts[label]) for label in order])
    said = np.arange(1.0, len(order) + 1) * len(train)
    best = int(f1_of(hits, said, np.full_like(said, float(counts.total()))).argmax()) + 1
    answer = spec.separator.join(sorted(order[:best]))
    return [Prediction(i, answer, {}, {}) for i in range(len(test))]


def _mean(spec: TaskSpec, train: Sequence[Record], test: Sequence[Record]) -> list[Prediction]:
    mean = float(np.mean([float(record.target or 0.0) for record in train]))
    return [Prediction(i, f"{mean:.6g}", {"value": mean}, {}) for i in range(len(test))]


def _word_tags(spec: TaskSpec, train: Sequence[Record], test: Sequence[Record]) -> list[Prediction]:
    """Each word's commonest tag in training; new words get "O", or the commonest tag of all."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for record in train:
        words = record.fields[spec.read_field].split(" ")
        for word, tag in zip(words, labels_of(spec, record.target or ""), strict=True):
            seen[word][tag] += 1
    every = sum(seen.values(), Counter[str]())
    rest = OUTSIDE if OUTSIDE in spec.labels else every.most_common(1)[0][0]
    known = {word: max(sorted(tags), key=tags.__getitem__) for word, tags in seen.items()}
    sentences = [record.fields[spec.read_field].split(" ") for record in test]
    given = [" ".join(known.get(word, rest) for word in words) for words in sentences]
    return [Prediction(i, answer, {}, {}) for i, answer in enumerate(given)]


def _sentence(spec: TaskSpec, train: Sequence[Record], test: Sequence[Record]) -> list[Prediction]:
    firsts = [record.fields[spec.read_field].split(". ", 1)[0] for record in test]
    return [Prediction(i, first, {}, {}) for i, first in enumerate(firsts)]


def _place(spec: TaskSpec, train: Sequence[Record], test: Sequence[Record]) -> list[Prediction]:
    """The option at the place where the right one stood most often."""
    places = Counter(options_of(r.fields["options"]).index(r.target or "") for r in train)
    place = min(places, key=lambda at: (-places[at], at))
    each = [options_of(record.fields["options"]) for record in test]
    given = [options[min(place, len(options) - 1)] for options in each]
    return [Prediction(i, answer, {}, {}) for i, answer in enumerate(given)]


_BASELINES: Mapping[Kind, tuple[str, Baseline]] = MappingProxyType(
    {
        "multi-label": ("the commonest labels", _labels),
        "regression": ("the training mean", _mean),
        "tagging": ("each word's commonest tag", _word_tags),
        "extractive-qa": ("the context's first sentence", _sentence),
        "multiple-choice": ("the commonest place", _place),
    }
)
