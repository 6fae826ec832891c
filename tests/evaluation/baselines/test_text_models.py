"""Linear models of texts against scikit-learn itself, on every kind that they can do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.text_models import STRENGTHS, Fitted, fit_tfidf, fit_vectors
from cuecard.evaluation.baselines.text_vectors import has_text_vectors, text_vectors, vector_depth
from cuecard.evaluation.evaluate import score_predictions
from cuecard.tasks import Task, TaskSpec
from cuecard.tasks.text_features import text_of
from cuecard.types import Record
from support.data.reviews import SPEC, review_task
from support.tiny import tiny_backbone, tiny_encoder

WORDS = {"a": "red apple", "b": "blue sea", "c": "green tree"}


def three_labels(count: int = 90) -> Task:
    """Three labels, each with words of its own among others."""
    rng = np.random.default_rng(0)
    spec = TaskSpec(kind="classification", template="{text}\nLabel:", labels=("a", "b", "c"))
    records = []
    for i in range(count):
        label = "abc"[i % 3]
        noise = " ".join(map(str, rng.integers(0, 50, 4)))
        said = WORDS[label if rng.random() < 0.9 else "abc"[rng.integers(3)]]
        records.append(Record({"text": f"{noise} {said} {i}"}, label, "t.csv", i))
    return Task.from_records(spec, records, split=(0.6, 0.2, 0.2))


def fitted(task: Task) -> Fitted:
    return fit_tfidf(task.spec, task.train, task.validation, task.test)


def test_two_labels_are_what_scikit_learn_says() -> None:
    task = review_task(150)
    found = fitted(task)
    texts = [[r.fields["text"] for r in rows] for rows in (task.train, task.validation, task.test)]
    shared = {"sublinear_tf": True}
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **shared)
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), **shared)
    for vectorizer in (words, letters):
        vectorizer.fit(texts[0])
    read = [np.hstack([v.transform(some).toarray() for v in (words, letters)]) for some in texts]
    gold = [[r.target for r in rows] for rows in (task.train, task.validation)]
    models = [LogisticRegression(C=c, solver="liblinear").fit(read[0], gold[0]) for c in STRENGTHS]
    scores = [model.score(read[1], gold[1]) for model in models]
    best = int(np.argmax(scores))
    assert (found.strength, found.score) == (STRENGTHS[best], scores[best])
    expected = models[best].predict_proba(read[2])
    given = [list(p.probabilities.values()) for p in found.predictions]
    np.testing.assert_allclose(given, expected, atol=1e-6)
    names = [*words.get_feature_names_out(), *letters.get_feature_names_out()]
    assert found.nbytes == len("".join(names)) + 4 * (2 * len(names) + 1)
    assert found.cpu_seconds > 0


def test_three_labels_are_told_apart() -> None:
    task = three_labels()
    found = fitted(task)
    assert score_predictions(task.spec, task.test, found.predictions).score > 0.7
    assert all(sum(p.probabilities.values()) == pytest.approx(1) for p in found.predictions)
    rng = np.random.default_rng(1)
    places = {label: rng.normal(0, 3, 8) for label in "abc"}
    rows = [
        (some, np.stack([places[str(r.target)] + rng.normal(0, 1, 8) for r in some]))
        for some in (task.train, task.validation, task.test)
    ]
    near = fit_vectors(task.spec, rows, "vectors", cpu_seconds=5.0)
    assert score_predictions(task.spec, task.test, near.predictions).score == 1.0
    assert near.nbytes == 4 * 3 * 9 and near.cpu_seconds > 5.0


def test_a_label_without_training_rows_is_never_said() -> None:
    task = three_labels()
    rows = tuple(record for record in task.train if record.target != "c")
    found = fit_tfidf(task.spec, rows, task.validation, task.test)
    assert {p.answer for p in found.predictions} == {"a", "b"}
    assert all(set(p.scores) == {"a", "b", "c"} for p in found.predictions)
    vectors = [(some, np.eye(len(some), 5)) for some in (rows, task.validation, task.test)]
    assert "c" not in {p.answer for p in fit_vectors(task.spec, vectors, "v").predictions}


def test_several_labels_and_numbers() -> None:
    rng = np.random.default_rng(0)
    held = [[label for label in "abc" if rng.random() < 0.4] for _ in range(90)]
    records = [
        Record({"text": " ".join([str(i), *(WORDS[x] for x in some)])}, ",".join(some), "t.csv", i)
        for i, some in enumerate(held)
    ]
    several = TaskSpec(kind="multi-label", template="{text}\nLabels:", labels=("a", "b", "c"))
    task = Task.from_records(several, records, split=(0.6, 0.2, 0.2))
    assert score_predictions(several, task.test, fitted(task).predictions).score > 0.9
    number = TaskSpec(kind="regression", template="{text}\nScore:")
    counts = [
        Record(r.fields, str(10.0 + len(some)), r.source, r.row)
        for r, some in zip(records, held, strict=True)
    ]
    task = Task.from_records(number, counts, split=(0.6, 0.2, 0.2))
    assert score_predictions(task.spec, task.test, fitted(task).predictions).metrics["r2"] > 0.5


def test_what_leaves_nothing_to_fit_is_said() -> None:
    same = [Record({"text": f"x {i}"}, "positive") for i in range(5)]
    with pytest.raises(ConfigError, match="leave nothing to fit"):
        fit_tfidf(SPEC, same, same, same)
    blank = [Record({"text": "   "}, SPEC.labels[i % 2]) for i in range(6)]
    with pytest.raises(ConfigError, match="leave nothing to fit"):
        fit_tfidf(SPEC, blank, blank, blank)
    texts = TaskSpec(kind="text-to-text", template="{text}")
    with pytest.raises(ConfigError, match="cannot do this kind"):
        fit_tfidf(texts, same, same, same)


def test_all_fields_are_read() -> None:
    spec = TaskSpec(kind="classification", template="{b} and {a}:", labels=("x", "y"))
    assert text_of(spec, Record({"a": "one", "b": "two", "c": "three"}, None)) == "two\none"


@pytest.mark.parametrize("kind", ["llama", "gemma2-softcap", "roberta", "encoder"])
def test_text_vectors_are_the_mean_state(kind: str) -> None:
    backbone = tiny_encoder() if kind == "encoder" else tiny_backbone(kind)
    assert has_text_vectors(backbone)
    texts = ["one of the best films", "a gob", " "]
    found = text_vectors(backbone, texts)
    assert found.shape == (3, backbone.hidden_size)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
    if backbone.causal:
        ids = torch.tensor([backbone.tokenizer.encode(texts[0])])
        backbone.model.set_attn_implementation("eager")  # sdpa would leave scores uncapped
        with torch.no_grad():
            # Of two layers the first one.
            states = backbone.model(ids, output_hidden_states=True).hidden_states[1][0].mean(0)
        np.testing.assert_allclose(found[0], states / states.norm(), atol=1e-5)
    backbone.reset_counts()
    np.testing.assert_allclose(text_vectors(backbone, texts[:1])[0], found[0], atol=1e-5)
    whole = len(backbone.tokenizer.encode(texts[0]))
    if backbone.causal:
        assert backbone.counts["tokens"] == round(whole * vector_depth(backbone)) < whole


def test_an_encoder_decoder_has_no_text_vectors() -> None:
    assert not has_text_vectors(tiny_backbone("t5-gated"))
