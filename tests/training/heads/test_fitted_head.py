"""A head that is fitted before the first step."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.evaluation.heads import head_outputs
from cuecard.evaluation.predict import predict
from cuecard.methods import PTuningV2
from cuecard.training import TrainConfig, read_log
from cuecard.training.heads.fitted_head import fit_head
from cuecard.training.race.auto import auto
from cuecard.training.race.runner import RaceRunner
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.head import head_of
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Head
from support.data.head_tasks import tag_task
from support.data.reviews import SPEC, review_task
from support.tiny import tiny_backbone

LATE = PTuningV2(length=4, slot="infix")


def headed_task() -> Any:
    return review_task(80, SPEC.with_head("trained"))


@pytest.fixture(scope="module")
def setup() -> TrainSetup:
    return TrainSetup.of(tiny_backbone(), headed_task(), TrainablePrompt(LATE), TrainConfig())


def loss(setup: TrainSetup, head: Head, records: Any) -> float:
    return setup.validate_injection(setup.start.injection(), head, records).loss


def test_it_separates_rows_that_the_words_do_not(setup: TrainSetup) -> None:
    head = fit_head(setup)
    assert head.weight.shape == (2, setup.backbone.hidden_size) and head.weight.isfinite().all()
    for records in (setup.task.train, setup.task.validation):
        assert loss(setup, head, records) < 0.8 * math.log(2)
    assert torch.equal(fit_head(setup).weight, head.weight)  # the same bits again


def test_without_regard_for_the_states_it_says_what_the_words_say(
    setup: TrainSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cuecard.training.heads.logistic._STRENGTHS", (1e-12,))
    head, backbone = fit_head(setup), setup.backbone
    words = setup.spec.in_words
    records = setup.task.validation
    rows = setup.spec.encode_rows(records, backbone.tokenizer, "infix")
    outputs = head_outputs(backbone, rows, setup.start.injection(), head, batch_rows=8)
    shares = torch.tensor([o[-1].tolist() for o in outputs]).softmax(-1)
    found = predict(backbone, words, records, setup.start.injection(), slot="infix")
    said = torch.tensor([[p.probabilities[label] for label in words.labels] for p in found])
    assert torch.allclose(shares, said, atol=1e-4)


def test_a_label_without_rows_and_one_label_alone(setup: TrainSetup) -> None:
    only = tuple(r for r in setup.task.train if r.target == setup.spec.labels[0])
    head = fit_head(replace(setup, task=replace(setup.task, train=only)))
    assert head.weight.isfinite().all() and head.bias.isfinite().all()


def test_a_run_starts_from_it_and_its_prompt_has_it(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    run = auto(backbone, headed_task(), TrainConfig(budget="108 steps"), folder=tmp_path)
    chosen = next(event for event in read_log(tmp_path) if event["event"] == "chosen")
    assert chosen["contestant"].startswith("late p-tuning-v2")
    started = next(event for event in read_log(tmp_path) if event["event"] == "validation")
    assert started["step"] == 0 and started["validation_loss"] < 0.8 * math.log(2)
    raced = [event for event in read_log(tmp_path) if event["event"] == "raced"]
    assert len(raced) == 2 and started["validation_loss"] in {e["loss"] for e in raced}
    prompt = Prompt.load(tmp_path / "prompt", backbone)
    assert prompt.spec.head == "trained" and prompt.head() is not None
    assert run.test is not None and run.test.score > 0.8


def test_what_starts_from_a_head_starts_from_it(setup: TrainSetup) -> None:
    head = fit_head(setup)
    assert isinstance(setup.trainable, TrainablePrompt)
    other = setup.starting_from(replace(setup.trainable, head=head))
    for method in (other.start, other.new_method()):
        started = head_of(method)
        assert started is not None and torch.equal(started.weight, head.weight)
    assert other.parts == setup.parts


def test_heads_learn_slowly_only_where_they_were_fitted() -> None:
    config = TrainConfig(budget="12 steps")
    rates = {
        name: {setup.config.head_lr for setup in RaceRunner(*made, config, **runs).setups.values()}
        for name, made, runs in (
            ("fitted", (tiny_backbone(), headed_task()), {}),
            ("seeds", (tiny_backbone(), headed_task()), {"runs": 2}),
            ("tags", (tiny_backbone(), tag_task(60)), {}),
        )
    }
    usual = TrainConfig().head_lr
    assert rates["tags"] == {usual}
    assert max(rates["fitted"]) < usual and rates["seeds"] == rates["fitted"]
