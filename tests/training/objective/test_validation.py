"""Validation scores are of the answers that the prompt will give."""

from __future__ import annotations

import numpy as np
import pytest

from cuecard.evaluation.calibration import fitted_prior
from cuecard.evaluation.predict import predict
from cuecard.methods import PromptTuning
from cuecard.tasks.predictions import calibrate
from cuecard.training import TrainConfig
from cuecard.training.objective.validation import validate
from cuecard.training.train import train
from cuecard.training.trainables.initial_method import new_method
from support.data.reviews import SPEC, review_task
from support.tiny import tiny_backbone

METHOD = PromptTuning(length=4, init="random")


def test_accuracy_is_with_the_prior_where_the_prompt_is_kept_with_it() -> None:
    backbone, task = tiny_backbone(), review_task(200)
    injection = new_method(backbone, SPEC, METHOD, 1).injection()
    raw = predict(backbone, SPEC, task.validation, injection)
    gold = [record.target or "" for record in task.validation]
    prior = fitted_prior(raw, gold)

    def share(answers: list[str]) -> float:
        return float(np.mean([a == g for a, g in zip(answers, gold, strict=True)]))

    plain = validate(backbone, SPEC, task.validation, injection, "prefix")
    kept = validate(backbone, SPEC, task.validation, injection, "prefix", calibrated=True)
    assert plain.accuracy == share([p.answer for p in raw])
    assert kept.accuracy == share([p.answer for p in calibrate(raw, prior)]) != plain.accuracy
    assert (kept.loss, kept.prior) == (plain.loss, prior) == (plain.loss, plain.prior)
    assert kept.majority_share != plain.majority_share


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_manifests_validation_accuracy_can_be_had_again(calibrated: bool) -> None:
    backbone, task = tiny_backbone(), review_task(80)
    run = train(backbone, task, METHOD, TrainConfig(steps=4, calibrate=calibrated))
    manifest = run.prompt.manifest
    answers = predict(backbone, SPEC, task.validation, run.prompt.injection(), prior=manifest.prior)
    right = [p.answer == r.target for p, r in zip(answers, task.validation, strict=True)]
    assert manifest.metrics["validation"]["accuracy"] == np.mean(right)  # type: ignore[index,call-overload]
    assert (manifest.prior is not None) is calibrated
