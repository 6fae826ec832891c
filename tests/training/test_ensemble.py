from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.errors import ConfigError, TrainingError, WrongBackboneError
from cuecard.evaluation.ensemble import Ensemble
from cuecard.methods import PromptTuning
from cuecard.training import TrainConfig
from cuecard.training.ensemble import distil, train_ensemble
from cuecard.training.train import train
from support.data.reviews import LONG_SPEC, SPEC, review_task, title_task
from support.tiny import tiny_backbone

METHOD = PromptTuning(length=4, init="random")


def test_members_differ_in_their_seed_alone(tmp_path: Path) -> None:
    backbone, task = tiny_backbone(), review_task(60)
    config = TrainConfig(steps=3, seed=5)
    runs = train_ensemble(backbone, task, METHOD, config, members=2, folder=tmp_path)
    assert [run.prompt.manifest.seed for run in runs] == [5, 6]
    for seed, run in enumerate(runs, 5):
        alone = train(backbone, task, METHOD, config.model_copy(update={"seed": seed}))
        torch.testing.assert_close(run.prompt.vectors, alone.prompt.vectors, atol=1e-4, rtol=1e-3)
    assert (tmp_path / "trials" / "001" / "prompt" / "prompt.json").is_file()
    again = train_ensemble(backbone, task, METHOD, config, members=2, folder=tmp_path)
    assert [run.prompt.digest for run in again] == [run.prompt.digest for run in runs]


def test_soft_labels_are_refused_where_they_would_not_be_learnt() -> None:
    backbone, task = tiny_backbone(), review_task(60)
    soft = [[0.5, 0.5]] * len(task.train)
    with pytest.raises(ConfigError, match="loss over labels"):
        train(backbone, task, METHOD, TrainConfig(steps=1, loss="tokens"), soft_labels=soft)
    with pytest.raises(ConfigError, match="one list of soft labels"):
        train(backbone, task, METHOD, TrainConfig(steps=1), soft_labels=soft[1:])


def test_members_make_their_steps_in_one_pass() -> None:
    backbone, task = tiny_backbone(), review_task(60)
    seen: list[tuple[str, int]] = []

    def count(event: dict[str, Any]) -> None:
        seen.append((event["event"], backbone.counts["calls"]))

    config = TrainConfig(steps=4, eval_every=4)
    train_ensemble(backbone, task, METHOD, config, members=3, observer=count)
    steps = [calls for name, calls in seen if name == "step"]
    assert len(steps) == 12 and steps[-1] - steps[0] == 3


def test_an_ensemble_of_none() -> None:
    backbone, task, config = tiny_backbone(), review_task(60), TrainConfig(steps=3)
    with pytest.raises(ConfigError, match="at least one member"):
        train_ensemble(backbone, task, METHOD, config, members=0)


def test_a_student_comes_to_answer_as_its_teachers() -> None:
    """Not as the labels say: the teachers here were taught them the wrong way round."""
    backbone, task = tiny_backbone(), review_task(120)
    swap = {"positive": "negative", "negative": "positive"}
    wrong = replace(
        task,
        train=tuple(replace(r, target=swap[str(r.target)]) for r in task.train),
        validation=tuple(replace(r, target=swap[str(r.target)]) for r in task.validation),
    )
    config = TrainConfig(steps=60, batch_rows=16)
    teachers = [run.prompt for run in train_ensemble(backbone, wrong, METHOD, config, members=2)]
    ensemble = Ensemble([teacher.bind(backbone) for teacher in teachers])
    answers = {
        record.fields["text"]: answer.answer
        for record, answer in zip(task.validation, ensemble.predict(task.validation), strict=True)
    }
    taught = replace(
        task,
        validation=tuple(replace(r, target=answers[r.fields["text"]]) for r in task.validation),
    )
    if len(set(answers.values())) < 2:
        pytest.fail("the teachers learnt nothing that could be passed on")
    student = distil(backbone, taught, teachers, METHOD, config)
    untaught = sum(answers[r.fields["text"]] == r.target for r in task.validation)
    assert untaught <= 0.4 * len(answers)
    assert student.validation.accuracy is not None and student.validation.accuracy >= 0.75


def test_resuming_minds_the_teachers(tmp_path: Path) -> None:
    backbone, task = tiny_backbone(), review_task(60)
    config = TrainConfig(steps=2)
    first, second = (r.prompt for r in train_ensemble(backbone, task, METHOD, config, members=2))
    run = distil(backbone, task, [first], METHOD, config, folder=tmp_path)
    again = distil(backbone, task, [first], METHOD, config, folder=tmp_path)
    assert torch.equal(run.prompt.vectors, again.prompt.vectors)
    with pytest.raises(TrainingError, match="other settings"):
        distil(backbone, task, [second], METHOD, config, folder=tmp_path)


def test_labels_of_several_tokens_are_distilled_too() -> None:
    backbone, task = tiny_backbone(), review_task(60, LONG_SPEC)
    teacher = train(backbone, task, METHOD, TrainConfig(steps=1)).prompt
    losses: list[float] = []
    config = TrainConfig(steps=3, lr=0.05)
    distil(
        backbone,
        task,
        [teacher],
        METHOD.model_copy(update={"init": "vocabulary"}),
        config,
        observer=lambda event: losses.append(event["loss"]) if event["event"] == "step" else None,
    )
    assert len(losses) == 3 and 0 < losses[0] < 10


def test_refusals() -> None:
    backbone, task = tiny_backbone(), review_task(60)
    teacher = train(backbone, task, METHOD, TrainConfig(steps=1)).prompt
    with pytest.raises(WrongBackboneError):
        distil(tiny_backbone(seed=1), task, [teacher], METHOD)
    with pytest.raises(ConfigError, match="other labels"):
        distil(backbone, title_task(), [teacher], METHOD)
    swapped = SPEC.model_copy(update={"labels": ("positive", "negative")})
    with pytest.raises(ConfigError, match="other labels"):
        distil(backbone, review_task(60, swapped), [teacher], METHOD)
    with pytest.raises(ConfigError, match="at least one prompt"):
        distil(backbone, task, [], METHOD)
