"""Trained heads: every kind of task learns, is kept, is loaded and answers as it did."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cuecard.artifacts import Prompt
from cuecard.artifacts.prompt import answer
from cuecard.comparison.prove import prove, write_proof
from cuecard.errors import ConfigError
from cuecard.evaluation.evaluate import evaluate
from cuecard.methods import PromptTuning, method_settings
from cuecard.tasks import Task, TaskSpec, collate
from cuecard.tasks.encoding.batching import inside_of
from cuecard.training import SweepConfig, TrainConfig
from cuecard.training.sweep import sweep
from cuecard.training.train import train
from cuecard.types import Encoded
from support.data.head_tasks import (
    ANSWER,
    HEAD_SPEC,
    NUMBER,
    SEVERAL,
    TAGS,
    answer_task,
    choice_task,
    head_task,
    number_task,
    several_task,
    tag_task,
)
from support.data.reviews import review_task
from support.tiny import tiny_backbone, tiny_encoder

METHOD = PromptTuning(length=8, init="random")
CONFIG = TrainConfig(steps=150, batch_rows=16, head_lr=0.01)

# The task, and the least score on rows that it never saw.
LEARNT: dict[str, tuple[Callable[[], Task], float]] = {
    "classification": (head_task, 0.8),
    "multi-label": (several_task, 0.65),
    "regression": (number_task, 0.6),
    "multiple-choice": (choice_task, 0.6),
    "tagging": (tag_task, 0.8),
    "extractive-qa": (answer_task, 0.8),
}


def head_loss(spec: TaskSpec, rows: Sequence[Encoded], outputs: Tensor) -> float:
    return float(spec.task_kind.head_loss(spec, rows, outputs))


@pytest.mark.parametrize("kind", LEARNT)
def test_it_learns_what_can_be_learnt(kind: str) -> None:
    make, least = LEARNT[kind]
    task = make()
    seen: list[dict[str, Any]] = []
    steps = 400 if kind == "multi-label" else CONFIG.steps
    config = CONFIG.model_copy(update={"steps": steps})
    run = train(tiny_backbone(), task, METHOD, config, observer=seen.append)
    losses = [e["validation_loss"] for e in seen if e["event"] == "validation"]
    assert min(losses) < 0.8 * losses[0]
    assert run.test is not None
    assert run.test.score >= least, run.test.metrics
    assert run.test.primary in run.test.ci95


def test_several_labels_learn_their_thresholds() -> None:
    run = train(tiny_backbone(), several_task(), METHOD, CONFIG.model_copy(update={"steps": 40}))
    prior = run.prompt.manifest.prior
    assert prior is not None and set(prior) == set(SEVERAL.labels)
    assert any(prior.values())


@pytest.mark.parametrize("method", ["p-tuning-v2", "deep-prompts", "prefix-tuning", "dept"])
def test_every_injection_takes_a_head(method: str) -> None:
    settings = method_settings(method, {"length": 4}, "test")
    before = TrainConfig(steps=1, lr=1e-9, head_lr=1e-9)
    start = train(tiny_backbone(), tag_task(40), settings, before).validation.loss
    config = TrainConfig(steps=20, batch_rows=8, head_lr=0.01)
    run = train(tiny_backbone(), tag_task(40), settings, config)
    assert run.validation.loss < start == pytest.approx(math.log(4), abs=1e-4)


@pytest.mark.parametrize("kind", ["bart", "t5-relu"])
def test_encoder_decoders_take_heads_for_whole_texts(kind: str) -> None:
    config = TrainConfig(steps=40, batch_rows=16, head_lr=0.01)
    run = train(tiny_backbone(kind), number_task(80), METHOD, config)
    assert run.validation.loss < 1.0 and run.test is not None
    with pytest.raises(ConfigError, match="state per token"):
        train(tiny_backbone(kind), tag_task(40), METHOD, config)


def test_late_prompts_are_refused_where_the_texts_tokens_are_read() -> None:
    late = PromptTuning(length=4, init="random", slot="suffix")
    with pytest.raises(ConfigError, match="prompt before them"):
        train(tiny_backbone(), tag_task(40), late, TrainConfig(steps=1))
    run = train(tiny_backbone(), head_task(60), late, TrainConfig(steps=2))
    assert run.prompt.manifest.slot == "suffix"


@pytest.mark.parametrize("make", [head_task, several_task, number_task, tag_task, answer_task])
def test_what_is_saved_answers_as_what_was_trained(
    make: Callable[[], Task], tmp_path: Path
) -> None:
    backbone, task = tiny_backbone(), make()
    config = TrainConfig(steps=10, batch_rows=8, head_lr=0.01)
    run = train(backbone, task, METHOD, config, folder=tmp_path)
    assert run.test is not None
    prompt = Prompt.load(tmp_path / "prompt", backbone)
    assert prompt.digest == run.prompt.digest and prompt.manifest.head == "linear"
    found = answer(backbone, prompt, task.test)
    assert [p.answer for p in found] == [p.answer for p in run.test.predictions]
    again = evaluate(
        backbone,
        prompt.spec,
        task.test,
        prompt.injection(),
        prior=prompt.manifest.prior,
        head=prompt.head(),
    )
    assert again.metrics == run.test.metrics


def test_the_same_seed_gives_the_same_bytes() -> None:
    config = TrainConfig(steps=5, head_lr=0.01)
    first, second = (train(tiny_backbone(), head_task(60), METHOD, config) for _ in range(2))
    assert first.prompt.digest == second.prompt.digest


def test_a_stopped_run_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    config = TrainConfig(steps=12, batch_rows=8, eval_every=4, checkpoint_every=2, head_lr=0.01)
    whole = train(tiny_backbone(), head_task(60), METHOD, config)

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 7:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        train(tiny_backbone(), head_task(60), METHOD, config, folder=tmp_path, observer=stop)
    went_on = train(tiny_backbone(), head_task(60), METHOD, config, folder=tmp_path)
    assert went_on.prompt.digest == whole.prompt.digest


def test_a_task_without_its_head_and_a_head_without_its_task() -> None:
    backbone = tiny_backbone()
    with pytest.raises(ConfigError, match="no head"):
        evaluate(backbone, NUMBER, number_task(40).test)
    run = train(backbone, head_task(60), METHOD, TrainConfig(steps=1))
    task = review_task(60)
    with pytest.raises(ConfigError, match="no head"):
        evaluate(backbone, task.spec, task.test, head=run.prompt.head())
    with pytest.raises(ConfigError, match="a head"):
        evaluate(backbone, SEVERAL, several_task(40).test, head=run.prompt.head())


@pytest.mark.parametrize("loss", ["labels", "tokens"])
def test_a_loss_that_is_not_a_heads(loss: Any) -> None:
    with pytest.raises(ConfigError, match="does not fit"):
        train(tiny_backbone(), head_task(60), METHOD, TrainConfig(steps=1, loss=loss))
    with pytest.raises(ConfigError, match="does not fit"):
        train(tiny_backbone(), review_task(60), METHOD, TrainConfig(steps=1, loss="head"))


def test_losses_are_their_formulas() -> None:
    """In float64, written out."""
    generator = torch.Generator().manual_seed(0)
    backbone = tiny_backbone()

    def outputs(rows: int, count: int) -> torch.Tensor:
        return torch.randn(rows, count, generator=generator)

    rows = [HEAD_SPEC.encode(r, backbone.tokenizer) for r in head_task(20).train[:3]]
    found = outputs(3, 2)
    p = found.double().softmax(-1)
    expected = -sum(math.log(p[i, int(row.goal[0])]) for i, row in enumerate(rows))
    assert head_loss(HEAD_SPEC, rows, found) == pytest.approx(expected, rel=1e-5)

    rows = [SEVERAL.encode(r, backbone.tokenizer) for r in several_task(20).train[:3]]
    found = outputs(3, 3)
    q = found.double().sigmoid()
    each = [
        -math.log(q[i, k] if goal else 1 - q[i, k])
        for i, row in enumerate(rows)
        for k, goal in enumerate(row.goal)
    ]
    assert head_loss(SEVERAL, rows, found) == pytest.approx(sum(each) / 3, rel=1e-5)

    task = number_task(20)
    rows = [task.spec.encode(r, backbone.tokenizer) for r in task.train[:3]]
    found = outputs(3, 1)
    own = task.spec.own
    wanted = [(float(r.target or 0) - own["mean"]) / own["scale"] for r in task.train[:3]]
    squared = sum((float(x) - y) ** 2 for x, y in zip(found[:, 0], wanted, strict=True))
    assert head_loss(task.spec, rows, found) == pytest.approx(squared, rel=1e-5)

    rows = [TAGS.encode(r, backbone.tokenizer) for r in tag_task(20).train[:2]]
    goals = [int(goal) for row in rows for goal in row.goal]
    found = outputs(len(goals), 4)
    p = found.double().softmax(-1)
    expected = -sum(math.log(p[i, goal]) for i, goal in enumerate(goals))
    assert head_loss(TAGS, rows, found) == pytest.approx(expected, rel=1e-5)

    rows = [ANSWER.encode(r, backbone.tokenizer) for r in answer_task(20).train[:2]]
    reads = [len(row.at) for row in rows]
    found = outputs(sum(reads), 2)
    expected = 0.0
    for part, row in zip(found.split(reads), rows, strict=True):
        p = part.double().softmax(0)
        expected -= sum(math.log(p[int(goal), end]) for end, goal in enumerate(row.goal)) / 2
    assert head_loss(ANSWER, rows, found) == pytest.approx(expected, rel=1e-5)


def test_tasks_with_and_without_heads_train_in_one_sweep() -> None:
    tasks = {"head": head_task(60), "words": review_task(60), "tags": tag_task(40)}
    config = TrainConfig(steps=4, batch_rows=4)
    found = sweep(
        tiny_backbone(), tasks, SweepConfig(grid={"seed": (0,)}), PromptTuning(length=4), config
    )
    heads = {name: run.prompt.head() is not None for name, run in found.runs.items()}
    assert heads == {"head": True, "words": False, "tags": True}


CONTESTANTS = {
    "classification": {"majority", "tfidf", "sentence_vectors", "manual"},
    "multi-label": {"baseline", "tfidf", "sentence_vectors"},
    "regression": {"baseline", "tfidf", "sentence_vectors"},
    "multiple-choice": {"baseline", "overlap", "start", "template"},
    "tagging": {"baseline"},
    "extractive-qa": {"baseline"},
}


@pytest.mark.parametrize("kind", LEARNT)
def test_the_proof(kind: str, tmp_path: Path) -> None:
    backbone, task = tiny_backbone(), LEARNT[kind][0]()
    run = train(backbone, task, METHOD, TrainConfig(steps=4), folder=tmp_path)
    found = prove(backbone, task, run, demonstrations=(), encoder=tiny_encoder())
    write_proof(found, task, run, tmp_path, "A title")
    assert found.rows[-1].prompt.startswith("trained: prompt-tuning")
    assert found.report["metric"] == run.test.primary  # type: ignore[union-attr]
    assert CONTESTANTS[kind] <= set(found.report)
    assert all("not tried" in why for why in found.report["left_out"].values())
    assert len(found.rows) >= len(CONTESTANTS[kind]) + 1
    assert (tmp_path / "report.md").read_text().startswith("# A title")
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert len(lines) == len(task.test)


def test_a_heads_labels_that_cannot_be_said_leave_prompts_by_hand_out() -> None:
    """An encoder that says no words is compared with all that needs none."""
    backbone, task = tiny_encoder(), head_task(60)
    run = train(backbone, task, METHOD, TrainConfig(steps=2))
    report = prove(backbone, task, run, encoder=tiny_encoder()).report
    assert "manual" not in report and {"majority", "tfidf", "sentence_vectors"} <= set(report)
    assert "cannot be asked" in report["left_out"]["hand-written prompts"]
    assert report["best"] in {"majority", "tfidf", "sentence_vectors"}


def test_the_recomputed_backward_pass_gives_the_same_bytes() -> None:
    config = TrainConfig(steps=3, batch_rows=4, head_lr=0.01, activations="keep")
    again = config.model_copy(update={"activations": "recompute"})
    kept, recomputed = (train(tiny_backbone(), tag_task(40), METHOD, c) for c in (config, again))
    assert kept.prompt.digest == recomputed.prompt.digest


def test_lr_auto_with_a_head() -> None:
    run = train(tiny_backbone(), head_task(60), METHOD, TrainConfig(steps=3, lr="auto"))
    assert run.lr > 0


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
@pytest.mark.parametrize("make", [head_task, tag_task, answer_task])
def test_masked_models_take_heads(kind: str, make: Callable[[], Task], tmp_path: Path) -> None:
    backbone, task = tiny_backbone(kind), make()
    config = TrainConfig(steps=60, batch_rows=16, head_lr=0.01)
    before = train(backbone, task, METHOD, config.model_copy(update={"steps": 1}))
    run = train(backbone, task, METHOD, config, folder=tmp_path)
    assert run.validation.loss < 0.9 * before.validation.loss
    prompt = Prompt.load(tmp_path / "prompt", tiny_backbone(kind))
    assert run.test is not None
    found = answer(tiny_backbone(kind), prompt, task.test)
    assert [p.answer for p in found] == [p.answer for p in run.test.predictions]


def test_a_masked_model_is_read_at_its_own_tokens() -> None:
    """The prompt stands behind what opens a text; a word's state is at the word."""
    backbone = tiny_backbone("bert")
    row = TAGS.encode(tag_task(20).train[0], backbone.tokenizer)
    batch = collate([(row, ())], read="states", inside=inside_of(backbone))
    assert row.slot == 1 and batch.read_at.tolist() == list(row.at)
    whole = HEAD_SPEC.encode(head_task(20).train[0], backbone.tokenizer)
    batch = collate([(whole, ())], read="states", inside=inside_of(backbone))
    assert whole.slot == 1 and batch.read_at.tolist() == [0]
