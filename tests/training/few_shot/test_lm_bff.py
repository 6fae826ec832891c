"""One prompt in front of several sets of demonstrations."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.errors import ConfigError, Interrupted
from cuecard.evaluation.ensemble import Ensemble
from cuecard.methods import PromptTuning
from cuecard.tasks import Task
from cuecard.tasks.shots import few_shot_task
from cuecard.training import TrainConfig
from cuecard.training.few_shot.lm_bff import DemonstrationTraining
from support.data.head_tasks import head_task
from support.data.reviews import MASKED_SPEC, review_task, title_task
from support.tiny import tiny_backbone

METHOD = PromptTuning(length=4, init="random")
CONFIG = TrainConfig(steps=6, batch_rows=4, lr=0.05, eval_every=3, checkpoint_every=2)


def few(**spec: Any) -> Task:
    return few_shot_task(review_task(120, **spec), 6, 13)


def training(folder: Path | None = None, **changes: Any) -> DemonstrationTraining:
    settings: dict[str, Any] = {
        "backbone": tiny_backbone(),
        "task": few(),
        "method": METHOD,
        "config": CONFIG,
        "sets": 3,
        "folder": folder,
        **changes,
    }
    return DemonstrationTraining(**settings)


def test_one_prompt_answers_with_every_set(tmp_path: Path) -> None:
    task, seen = few(), []
    found = training(tmp_path, observer=seen.append).run()
    assert len(found.runs) == len(found.shown) == 3
    for run, shown in zip(found.runs, found.shown, strict=True):
        assert torch.equal(run.prompt.vectors, found.runs[0].prompt.vectors)
        template = run.prompt.spec.template
        assert template.endswith(task.spec.template)
        assert all(record.texts["text"] in template for record in shown)
    mean = np.mean([run.validation.loss for run in found.runs])
    assert found.validation.loss == pytest.approx(mean, rel=1e-5)
    assert found.best.validation.loss == min(run.validation.loss for run in found.runs)
    # What is kept answers as what was trained, alone and together.
    backbone = tiny_backbone()
    assert Prompt.load(tmp_path / "prompt").digest == found.best.prompt.digest
    kept = [
        Prompt.load(tmp_path / "sets" / f"{n:03d}" / "prompt", backbone).bind(backbone)
        for n in (1, 2, 3)
    ]
    together = Ensemble(kept).predict(task.test)
    assert found.test is not None
    for ours, theirs in zip(found.test.predictions, together, strict=True):
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)
    assert [event["event"] for event in seen].count("step") == CONFIG.steps
    again = training(tmp_path, observer=seen.append).run()
    assert again.best.prompt.digest == found.best.prompt.digest
    assert [event["event"] for event in seen].count("step") == CONFIG.steps


def test_a_row_is_never_asked_after_its_own_answer() -> None:
    made = training(sets=5)
    for shown, setup in zip(made._shown, made._setups, strict=True):
        assert not any(record in setup.task.train for record in shown)
        assert len(setup.task.train) + len(shown) == len(few().train)
    assert len({made._drawn(step) for step in range(40)}) == 5


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = training().run()

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 4:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        training(tmp_path, observer=stop).run()
    seen: list[dict[str, Any]] = []
    found = training(tmp_path, observer=seen.append).run()
    assert seen[0] == {"event": "resume", "step": 2, "steps": CONFIG.steps}
    assert [run.prompt.digest for run in found.runs] == [run.prompt.digest for run in whole.runs]
    assert found.test is not None and whole.test is not None
    assert found.test.metrics == whole.test.metrics


def test_ctrl_c_says_how_far_it_went(tmp_path: Path) -> None:
    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="stopped after step 4 of 6") as stopped:
        training(tmp_path, observer=interrupt).run()
    assert "cuecard lm-bff --resume" in str(stopped.value.hint)


@pytest.mark.parametrize("kind", ["t5-relu", "bert"])
def test_other_families(kind: str) -> None:
    task = few(spec=MASKED_SPEC) if kind == "bert" else few()
    config = CONFIG.model_copy(update={"steps": 2})
    found = training(backbone=tiny_backbone(kind), task=task, config=config, sets=2).run()
    assert found.test is not None and len(found.runs) == 2
    assert found.runs[0].prompt.spec.template != found.runs[1].prompt.spec.template


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": title_task()}, "answered in words"),
        ({"task": head_task(60)}, "answered in words"),
        ({"sets": 0}, "nothing to show"),
        ({"config": CONFIG.model_copy(update={"lr": "auto"})}, "no learning rates"),
    ],
)
def test_what_shows_nothing(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        training(**changes)


def test_all_rows_may_be_shown() -> None:
    task = few()
    short = replace(task, train=task.train[:6])
    shown = {
        record.texts["text"]
        for each in training(task=short, sets=6, typical=False)._shown
        for record in each
    }
    assert shown == {record.texts["text"] for record in short.train}
