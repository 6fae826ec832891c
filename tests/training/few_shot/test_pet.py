"""Patterns, unlabelled rows and one distilled prompt."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cuecard.errors import ConfigError, Interrupted
from cuecard.evaluation.predict import predict
from cuecard.methods import PromptTuning
from cuecard.tasks import Task, TaskSpec
from cuecard.tasks.predictions import as_predictions
from cuecard.tasks.shots import few_shot_task
from cuecard.training import TrainConfig, read_log
from cuecard.training.few_shot.patterns import words_of
from cuecard.training.few_shot.pet import PatternTraining, soft_labels
from cuecard.training.objective.loss import PromptBatch, batch_losses
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import InputTokens, Record
from support.data.reviews import SPEC, review_task, reviews, title_task
from support.tiny import tiny_backbone

PATTERNS = (SPEC.template, "{text}\nIt was")
CONFIG = TrainConfig(steps=6, batch_rows=4, lr=0.05, eval_every=3, checkpoint_every=3)
EVERY = review_task(120)


def few() -> Task:
    return few_shot_task(EVERY, 6, 13)


def bare(rows: list[Record]) -> list[Record]:
    return [replace(record, target=None) for record in rows]


def training(folder: Path | None = None, **changes: Any) -> PatternTraining:
    settings: dict[str, Any] = {
        "task": few(),
        "unlabelled": bare(reviews(120)),
        "patterns": PATTERNS,
        "config": CONFIG,
        "folder": folder,
        **changes,
    }
    return PatternTraining(tiny_backbone(), **settings)


def test_soft_labels_are_the_weighted_mean_of_scores() -> None:
    rng = np.random.default_rng(0)
    each = rng.normal(size=(3, 5, 2))
    weights = (0.5, 0.0, 1.0)
    given = [as_predictions(one, ("no", "yes")) for one in each]
    # Scores up to a number per row: in the paper they are logits.
    wanted = (0.5 * each[0] + each[2]) / 1.5 / 2
    wanted = np.exp(wanted) / np.exp(wanted).sum(1, keepdims=True)
    found = [[*one.probabilities.values()] for one in soft_labels(given, weights, 2.0)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    alike = soft_labels(given, (0, 0, 0)), soft_labels(given, (2, 2, 2))
    np.testing.assert_allclose(*([[*p.probabilities.values()] for p in one] for one in alike))


def test_soft_labels_are_learnt_at_their_temperature() -> None:
    backbone, records = tiny_backbone(), reviews(6)
    rows = [SPEC.encode(record, backbone.tokenizer) for record in records]
    vectors = InputTokens(backbone.embeddings[:3].clone())
    soft = dict.fromkeys(rows, (0.3, 0.7))
    part = PromptBatch(SPEC, rows, vectors, "labels", soft, temperature=2.0)
    (found,) = batch_losses(backbone, [part])
    answers = predict(backbone, SPEC, records, vectors)
    logs = torch.tensor([[*p.probabilities.values()] for p in answers]).log().div(2).log_softmax(-1)
    wanted = torch.tensor([0.3, 0.7])
    assert float(found) == pytest.approx(
        float(4 * (wanted * (wanted.log() - logs)).sum()), rel=1e-4
    )


def test_patterns_label_rows_and_one_prompt_learns_from_all_of_them(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    found = training(tmp_path, observer=seen.append).run()
    assert [one.pattern for one in found.patterns] == [*PATTERNS]
    assert seen[0]["unit"] == "pattern" and seen[0]["together"] == 2
    assert [event["event"] for event in seen].count("test") == 1  # the distilled prompt's alone
    best = min(found.patterns, key=lambda one: one.validation.loss)
    assert found.teacher == best and found.run.prompt.spec.template == best.pattern
    # The rows to label without those that are validated and tested on.
    task = few()
    assert found.unlabelled == 120 - len(task.validation) - len(task.test)
    log = read_log(tmp_path)
    first = next(event for event in log if event["event"] == "validation")
    assert first["validation_loss"] == pytest.approx(best.validation.loss, rel=1e-4)
    assert all(0 <= one.weight <= 1 for one in found.patterns)
    again = training(tmp_path, observer=seen.append).run()
    assert again.run.prompt.digest == found.run.prompt.digest
    assert [event["event"] for event in seen].count("test") == 1


def test_a_pattern_weighs_as_its_untrained_start_answers() -> None:
    backbone, task = tiny_backbone(), few()
    plain = CONFIG.model_copy(update={"steps": 1, "calibrate": False})
    for one in training(config=plain).run().patterns:
        spec = TaskSpec.parse({**SPEC.model_dump(), "template": one.pattern})
        prompt = TrainablePrompt(PromptTuning(init="text", text=words_of(one.pattern)))
        start = prompt.build(backbone, replace(task, spec=spec), plain).injection()
        answers = predict(backbone, spec, task.train, start)
        right = [a.answer == row.target for a, row in zip(answers, task.train, strict=True)]
        assert one.weight == pytest.approx(sum(right) / len(right))


@pytest.mark.parametrize(("step", "trial"), [(4, 1), (4, None)])
def test_a_stopped_run_goes_on_from_its_own_folder(
    tmp_path: Path, step: int, trial: int | None
) -> None:
    """Stopped while the patterns are trained, or the prompt that learns from them."""

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "step" and (event["step"], event.get("trial")) == (step, trial):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted) as stopped:
        training(tmp_path / "cut", observer=stop).run()
    assert stopped.value.where == str(tmp_path / "cut")
    assert str(stopped.value.hint).endswith(f"cuecard pet --resume {tmp_path / 'cut'}")
    found, whole = (training(tmp_path / name).run().run for name in ("cut", "whole"))
    assert found.prompt.digest == whole.prompt.digest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patterns": PATTERNS[:1]}, "several different ones"),
        ({"patterns": (*PATTERNS, PATTERNS[0])}, "several different ones"),
        ({"patterns": (*PATTERNS, "{title}:")}, "do not name the same fields"),
        ({"method": PromptTuning(init="random")}, "starts from its pattern's words"),
        ({"temperature": 0.0}, "a positive number"),
        ({"generations": 0}, "once at least"),
        ({"growth": 1.0}, "must grow"),
        ({"task": title_task()}, "answered in words"),
    ],
)
def test_what_cannot_be_patterns(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        training(**changes)


def test_every_generation_learns_from_more_rows(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    grown = {"generations": 3, "growth": 2.0}
    found = training(tmp_path, observer=seen.append, **grown).run()
    first, second, third = found.generations
    labelled = len(few().train)
    assert [one.rows for one in first] == [labelled] * 2 and third == found.patterns
    for before, after in ((first, second), (second, third)):
        for one, other in zip(before, after, strict=True):
            assert one.rows < other.rows and one.weight == other.weight
    assert all(one.rows <= 2 * labelled for one in second)
    # The first generation is that of a run with no others.
    assert first == training().run().patterns
    again = training(tmp_path, **grown).run()
    assert again.run.prompt.digest == found.run.prompt.digest
    folders = sorted(each.name for each in (tmp_path / "patterns").glob("generation-*"))
    assert folders == ["generation-2", "generation-3"]


@pytest.mark.parametrize(
    ("kind", "patterns"),
    [("t5-relu", PATTERNS), ("bert", ("Review: {text} It was {mask}.", "{mask}: {text}"))],
)
def test_patterns_on_other_families(kind: str, patterns: tuple[str, ...]) -> None:
    backbone = tiny_backbone(kind)
    spec = TaskSpec.parse({**SPEC.model_dump(), "template": patterns[0]})
    task = Task.from_records(spec, reviews(60), split=(0.6, 0.2, 0.2))
    found = PatternTraining(
        backbone,
        few_shot_task(task, 4, 13),
        bare(reviews(60)),
        patterns,
        config=CONFIG.model_copy(update={"steps": 2}),
    ).run()
    assert found.run.prompt.spec.template in patterns and found.run.test is not None
