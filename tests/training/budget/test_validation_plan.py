"""A long list of labels: short validations, one on all labels, and how long a run takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cuecard.backbones import CausalBackbone
from cuecard.evaluation.predict import predict
from cuecard.methods import PromptTuning
from cuecard.runs.estimate import about, estimate_run
from cuecard.tasks import Task, TaskSpec
from cuecard.training.budget.validation_plan import (
    ValidationPlan,
    plan_validations,
    training_tokens,
)
from cuecard.training.config import TrainConfig
from cuecard.training.setup import TrainSetup
from cuecard.training.train import train
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Record
from support.data.reviews import SPEC, review_task
from support.tiny import tiny_backbone

PARTS = ("good", "bad", "one", "for", "none")
LABELS = tuple(f"{a} {b} {c} one" for a in PARTS for b in PARTS for c in PARTS)
METHOD = PromptTuning(length=4, init="vocabulary")


@pytest.fixture(scope="module")
def backbone() -> CausalBackbone:
    found = tiny_backbone()
    assert isinstance(found, CausalBackbone)
    return found


@pytest.fixture(scope="module")
def task() -> Task:
    spec = TaskSpec(kind="classification", template="{text} :", labels=LABELS)
    rows = [Record({"text": f"text {i} of many"}, LABELS[i % len(LABELS)]) for i in range(400)]
    return Task.from_records(spec, rows)


def planned(backbone: CausalBackbone, task: Task, **settings: Any) -> ValidationPlan:
    rows = task.spec.encode_rows(task.train, backbone.tokenizer, "prefix")
    return plan_validations(backbone, task, rows, TrainConfig(**settings), 4, "prefix")


def test_a_few_labels_are_validated_as_often_as_ever(backbone: CausalBackbone) -> None:
    looks = planned(backbone, review_task(60), steps=30)
    assert (looks.every, looks.brief, looks.count) == (3, False, 11)


def test_many_labels_are_validated_in_brief_and_within_a_share(
    backbone: CausalBackbone, task: Task
) -> None:
    looks = planned(backbone, task, steps=60)
    assert looks.brief and looks.tokens < looks.whole / 3
    rows = task.spec.encode_rows(task.train, backbone.tokenizer, "prefix")
    work = training_tokens(rows, TrainConfig(steps=60), 4)
    assert looks.count * looks.tokens <= max(8000, work / 2)
    asked = planned(backbone, task, steps=60, eval_every=1)
    assert asked.every == 1 and asked.brief and asked.count == 61


def test_the_work_of_a_step_is_what_it_runs(backbone: CausalBackbone) -> None:
    shown = "Review: a warm and fine one\nSentiment: good\n\nReview: {text}\nSentiment:"
    task = review_task(60, SPEC.model_copy(update={"template": shown}))
    rows = task.spec.encode_rows(task.train, backbone.tokenizer, "prefix")
    ran: list[int] = []

    def observe(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            ran.append(backbone.counts["tokens"])
        backbone.reset_counts()

    assert len(rows) == 38
    config = TrainConfig(steps=2, batch_rows=19)  # the two batches of one epoch
    train(backbone, task, METHOD, config, observer=observe)
    targets = 2 * 38  # which are not run
    assert 2 * sum(ran) + targets == pytest.approx(training_tokens(rows, config, 4))


def test_a_long_run_affords_all_labels(backbone: CausalBackbone, task: Task) -> None:
    looks = planned(backbone, task, steps=20_000)
    assert not looks.brief and looks.count == 11


@pytest.mark.parametrize("loss", ["auto", "labels"])
def test_the_best_step_is_scored_on_all_labels_once(
    backbone: CausalBackbone, task: Task, loss: Any, tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    config = TrainConfig(steps=4, loss=loss)
    run = train(backbone, task, METHOD, config, folder=tmp_path, observer=events.append)
    brief = [event for event in events if event["event"] == "validation"]
    (whole,) = [event for event in events if event["event"] == "best_validation"]
    assert len(brief) == 5 and all(event["validation_accuracy"] is None for event in brief)
    assert run.validation.accuracy == whole["validation_accuracy"] is not None
    assert whole["rows"] == run.prompt.manifest.metrics["validation"]["rows"]
    assert whole["labels"] == len(LABELS) and set(run.prompt.manifest.prior or {}) == set(LABELS)
    again = train(backbone, task, METHOD, config)
    assert again.prompt.digest == run.prompt.digest
    prior = run.prompt.manifest.prior
    exact = predict(backbone, task.spec, task.test, run.prompt.injection(), prior=prior)
    assert run.test is not None
    assert [p.answer for p in run.test.predictions] == [p.answer for p in exact]


def test_an_estimate_leaves_the_run_as_it_was(backbone: CausalBackbone, task: Task) -> None:
    checked = TrainSetup.of(backbone, task, TrainablePrompt(METHOD), TrainConfig(steps=4))
    before = [parameter.detach().clone() for parameter in checked.start.parameters()]
    backbone.reset_counts()
    found = estimate_run(checked)
    assert found.steps > 0 and found.validation > 0 and found.test > 0
    assert found.seconds == found.steps + found.validation + found.test
    assert not any(backbone.counts.values())
    for parameter, was in zip(checked.start.parameters(), before, strict=True):
        assert parameter.grad is None and bool((parameter == was).all())


def test_times_in_words() -> None:
    assert about(0.2) == "about 1 second" and about(40.4) == "about 40 seconds"
    assert about(300) == "about 5 minutes" and about(3 * 3600) == "about 3 hours"
