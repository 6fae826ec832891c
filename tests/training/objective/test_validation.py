"""Validation scores are of the answers that the prompt will give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cuecard.evaluation.calibration import fitted_prior
from cuecard.evaluation.heads import head_outputs
from cuecard.evaluation.predict import predict
from cuecard.methods import PrefixTuning, PromptTuning
from cuecard.tasks.predictions import calibrate
from cuecard.training import TrainConfig
from cuecard.training.objective.validation import validate
from cuecard.training.train import train
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import Head, MethodConfig, common_beginning
from support.data.reviews import SPEC, review_task
from support.tiny import shared_backbone, tiny_backbone

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


FORMS = {
    "in front": (METHOD, 4),
    "late": (METHOD.model_copy(update={"slot": "suffix"}), 4 * 40),
    "keys and values": (PrefixTuning(length=4, hidden=8), 0),
}


@pytest.mark.parametrize("brief", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_what_all_rows_begin_with_runs_once_in_a_validation(form: str, brief: bool) -> None:
    backbone, records = shared_backbone(), review_task(200).validation[:40]
    method: MethodConfig
    method, vectors = FORMS[form]
    spec = SPEC.model_copy(update={"template": f"Is a review good or bad?\n{SPEC.template}"})
    injection = new_method(backbone, spec, method, 1).injection()
    contexts = [row.context for row in spec.encode_rows(records, backbone.tokenizer, method.slot)]
    assert len(contexts) > 32  # several batches
    front = common_beginning(contexts)
    backbone.reset_counts()
    validate(backbone, spec, records, injection, method.slot, brief=brief)
    assert backbone.counts["tokens"] == vectors + front + sum(len(c) - front for c in contexts)


def test_what_all_rows_begin_with_runs_once_under_a_head() -> None:
    backbone, records = shared_backbone(), review_task(200).validation[:40]
    spec = SPEC.model_copy(update={"template": f"Is a review good or bad?\n{SPEC.template}"})
    rows = spec.encode_rows(records, backbone.tokenizer, "prefix")
    head = Head(torch.ones(2, 32), torch.zeros(2))
    front = common_beginning([row.context for row in rows])
    backbone.reset_counts()
    found = head_outputs(backbone, rows, None, head, batch_rows=32)
    own = sum(len(row.context) - front for row in rows)
    assert backbone.counts["tokens"] == front + own
    alone = [head_outputs(backbone, [row], None, head, batch_rows=1)[0] for row in rows[:3]]
    for one, other in zip(found, alone, strict=False):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_labels_may_be_compared_with_probabilities() -> None:
    backbone, task = shared_backbone(), review_task(60)
    injection = new_method(backbone, SPEC, METHOD, 1).injection()
    plain = validate(backbone, SPEC, task.validation, injection, "prefix")
    own = [[float(r.target == label) for label in SPEC.labels] for r in task.validation]
    same = validate(backbone, SPEC, task.validation, injection, "prefix", soft=own)
    assert same.loss == pytest.approx(plain.loss) and same.accuracy == plain.accuracy
    found = predict(backbone, SPEC, task.validation, injection)
    wanted = np.mean([-np.log(list(p.probabilities.values())).mean() for p in found])
    even = [[0.5, 0.5]] * len(task.validation)
    spread = validate(backbone, SPEC, task.validation, injection, "prefix", soft=even)
    assert spread.loss == pytest.approx(float(wanted))
