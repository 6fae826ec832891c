from __future__ import annotations

import numpy as np
import pytest

from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.image_models import fit_nearest_mean, image_vectors
from cuecard.evaluation.baselines.text_models import fit_vectors
from support.data.pairs import pair_task
from support.tiny_vision import LABELS, SPEC, pictures, shared_vision


def test_the_nearest_mean_is_the_formulas() -> None:
    records = pictures(8)
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(8, 5)), rng.normal(size=(6, 5))
    found = fit_nearest_mean(SPEC, (records, train), test, "vectors")
    middle = train.mean(0)
    means = [train[start::2].mean(0) - middle for start in (0, 1)]
    for prediction, row in zip(found.predictions, test - middle, strict=True):
        cosines = [row @ mean / np.linalg.norm(row) / np.linalg.norm(mean) for mean in means]
        assert prediction.answer == LABELS[int(np.argmax(cosines))]
        assert [prediction.scores[label] for label in LABELS] == pytest.approx(cosines)
    assert found.nbytes == 4 * 2 * 5


def test_a_class_without_an_image_is_never_the_nearest() -> None:
    records = [record for record in pictures(8) if record.target == "disc"]
    train = np.random.default_rng(0).normal(size=(4, 5))
    found = fit_nearest_mean(SPEC, (records, train), -train, "vectors")
    assert {prediction.answer for prediction in found.predictions} == {"disc"}
    with pytest.raises(ConfigError, match="no classes"):
        fit_nearest_mean(pair_task().spec, ((), train), train, "vectors")


def test_a_probe_learns_what_the_frozen_encoder_sees() -> None:
    backbone = shared_vision("dinov2")
    parts = [pictures(60), pictures(20, 2), pictures(40, 3)]
    rows = [(part, image_vectors(backbone, SPEC, part)) for part in parts]
    assert rows[0][1].shape == (60, 32) and rows[0][1].dtype == np.float64
    gold = [record.target for record in parts[2]]
    probe = fit_vectors(SPEC, rows, "frozen states")
    mean = fit_nearest_mean(SPEC, rows[0], rows[2][1], "frozen states")
    for fitted in (probe, mean):
        right = [p.answer == target for p, target in zip(fitted.predictions, gold, strict=True)]
        assert np.mean(right) > 0.8
