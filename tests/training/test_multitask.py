"""Tasks that share a prompt: the loss in float64, the join, resuming, and what is left."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cuecard.artifacts import Prompt, SharedPrompt
from cuecard.backbones import CausalBackbone
from cuecard.errors import (
    BackboneError,
    ConfigError,
    DataError,
    Interrupted,
    TrainingError,
    WrongBackboneError,
)
from cuecard.methods import MPT, PromptTuning
from cuecard.tasks import Task, TaskSpec
from cuecard.training import Multitask, TrainConfig, read_log
from cuecard.training.multitask import multitask
from cuecard.training.multitask_trainer import drawn_tasks
from cuecard.training.objective.loss import PromptBatch, Teacher, batch_losses
from cuecard.training.train import train
from cuecard.training.trainables.initial_method import init_context
from cuecard.types import InputTokens
from support.data.reviews import LONG_SPEC, SPEC, TEXT_SPEC, review_task, reviews, title_task
from support.tiny import SEQ2SEQ, tiny_backbone, tiny_model, tiny_tokenizer

METHOD = MPT(length=4, init="random")
CONFIG = TrainConfig(steps=8, batch_rows=4, eval_every=4, checkpoint_every=2)
TASKS = {"reviews": review_task(60), "words": review_task(60, LONG_SPEC), "titles": title_task()}
WEIGHT = 0.9


def run(folder: Path | None = None, observer: Any = None, **options: Any) -> Multitask:
    tasks, config = options.pop("tasks", TASKS), options.pop("config", CONFIG)
    return multitask(
        tiny_backbone(), tasks, METHOD, config, folder=folder, observer=observer, **options
    )


def at_targets(model: Any, row: Any, vectors: Tensor, single: bool) -> tuple[Tensor, Tensor]:
    """Logits [n, V] and what the LM head takes in [n, H], where the row's target is read."""
    embed = model.get_input_embeddings()
    context, target = torch.tensor([row.context]), torch.tensor([row.target])
    found = model(
        inputs_embeds=torch.cat([vectors[None], embed(context), embed(target)], 1),
        output_hidden_states=True,
    )
    first = len(row.context) + len(vectors) - 1
    count = 1 if single else len(row.target)
    at = slice(first, first + count)
    return found.logits[0, at], found.hidden_states[-1][0, at]


def reference(model: Any, rows: Any, given: Tensor, taught: Tensor, words: Any) -> Tensor:
    """Sum of nll + lambda (KL + MSE) over the reads, one row at a time, in float64."""
    total = torch.zeros((), dtype=torch.float64)
    for row in rows:
        logits, hidden = at_targets(model, row, given, words is not None)
        theirs, wanted = (t.detach() for t in at_targets(model, row, taught, words is not None))
        gold = list(row.target)
        if words is not None:
            logits, theirs = logits[:, words], theirs[:, words]
            gold = [words.index(gold[0])]
        q, log_p = theirs.softmax(-1), logits.log_softmax(-1)
        divergence = (q * (q.log() - log_p)).sum()
        apart = (hidden - wanted).pow(2).mean(-1).sum()
        nll = -log_p[torch.arange(len(gold)), gold].sum()
        total = total + nll + WEIGHT * (divergence + apart)
    return total


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bloom-alibi", "qwen3"])
@pytest.mark.parametrize(
    ("spec", "loss"), [(SPEC, "labels"), (LONG_SPEC, "tokens"), (TEXT_SPEC, "tokens")]
)
def test_loss_and_gradient_in_float64(kind: str, spec: TaskSpec, loss: Any) -> None:
    rows = [spec.encode(record, tiny_tokenizer()) for record in reviews(5)]
    if spec is TEXT_SPEC:
        rows = [replace(row, target=row.context[-6:-3]) for row in rows]
    generator = torch.Generator().manual_seed(0)
    start, taught = (torch.randn(6, 32, generator=generator) * 0.3 for _ in range(2))
    ours = start.clone().requires_grad_(True)
    teacher = Teacher(InputTokens(taught), WEIGHT)
    backbone = tiny_backbone(kind)
    (value,) = batch_losses(
        backbone, [PromptBatch(spec, rows, InputTokens(ours), loss, teacher=teacher)]
    )
    value.backward()
    exact = start.double().requires_grad_(True)
    words = None
    if loss == "labels":
        words = [ids[0] for ids in spec.continuations(tiny_tokenizer())]
    expected = reference(tiny_model(kind).double(), rows, exact, taught.double(), words)
    expected.backward()
    assert ours.grad is not None and exact.grad is not None
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
    error = (ours.grad.double() - exact.grad).norm() / exact.grad.norm()
    assert float(error) < 1e-4


def test_in_pieces_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [LONG_SPEC.encode(record, tiny_tokenizer()) for record in reviews(6)]
    generator = torch.Generator().manual_seed(0)
    start, taught = (torch.randn(6, 32, generator=generator) * 0.3 for _ in range(2))
    found = []
    for size in (2**30, 3 * 4 * 384):
        monkeypatch.setattr("cuecard.backbones.causal.PIECE_BYTES", size)
        ours = start.clone().requires_grad_(True)
        teacher = Teacher(InputTokens(taught), WEIGHT)
        part = PromptBatch(LONG_SPEC, rows, InputTokens(ours), "tokens", teacher=teacher)
        (value,) = batch_losses(tiny_backbone(), [part])
        value.backward()
        assert ours.grad is not None
        found.append((value.detach(), ours.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", SEQ2SEQ)
def test_a_prompt_is_its_own_best_teacher(kind: str) -> None:
    """On encoder-decoders too: no distance, and no gradient of it."""
    backbone = tiny_backbone(kind)
    rows = [SPEC.encode(record, backbone.tokenizer) for record in reviews(5)]
    vectors = torch.randn(6, 32, generator=torch.Generator().manual_seed(0)) * 0.3
    values = []
    for teacher in (None, Teacher(InputTokens(vectors), 100.0), Teacher(InputTokens(-vectors), 1)):
        part = PromptBatch(SPEC, rows, InputTokens(vectors), "tokens", teacher=teacher)
        (value,) = batch_losses(backbone, [part])
        values.append(float(value))
    assert values[1] == pytest.approx(values[0], abs=1e-3)
    assert values[2] > values[0] + 0.01


def test_a_model_that_cannot_be_parted_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()
    decoder = torch.nn.Identity()
    monkeypatch.setattr(type(backbone.model), "get_decoder", lambda self: decoder)
    with pytest.raises(BackboneError, match="hidden states and logits"):
        multitask(backbone, TASKS, METHOD, CONFIG)


def test_a_step_of_all_tasks_is_one_pass_and_their_teachers_another() -> None:
    backbone, calls = tiny_backbone(), []

    def count(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            calls.append(backbone.counts["calls"])

    config = CONFIG.model_copy(update={"eval_every": 8})
    multitask(backbone, TASKS, METHOD, config, observer=count)
    assert [b - a for a, b in pairwise(calls)] == [2] * 7
    calls.clear()
    multitask(backbone, TASKS, METHOD, config, distil=0, observer=count)
    assert [b - a for a, b in pairwise(calls)] == [1] * 7


def test_tasks_are_drawn_anew_for_each_step(tmp_path: Path) -> None:
    """With a row of each drawn task in a step's batch, and bit-equal after a kill."""
    drawn = [drawn_tasks(12, 0, step) for step in range(200)]
    assert {len(one) for one in drawn} == set(range(2, 13))
    assert {task for one in drawn for task in one} == set(range(12))
    assert drawn == [drawn_tasks(12, 0, step) for step in range(200)]
    assert drawn != [drawn_tasks(12, 1, step) for step in range(200)]
    options: dict[str, Any] = {
        "tasks": dict.fromkeys("abcd", review_task(60)),
        "config": CONFIG.model_copy(update={"batch_rows": 1}),
        "distil": 0,
        "sampling": "stochastic",
    }
    whole = run(tmp_path / "whole", **options)
    targets = [e["targets"] for e in read_log(tmp_path / "whole") if e["event"] == "step"]
    wanted = [len(drawn_tasks(4, 0, step)) for step in range(8)]
    assert targets == wanted and len(set(wanted)) > 1

    def die(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 5:
            raise _Killed

    with pytest.raises(_Killed):
        run(tmp_path / "cut", die, **options)
    assert run(tmp_path / "cut", **options).shared.digest == whole.shared.digest
    assert timeless(tmp_path / "cut") == timeless(tmp_path / "whole")
    with pytest.raises(TrainingError, match="other settings"):
        run(tmp_path / "cut", **{**options, "sampling": "all"})


def test_what_is_left(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    found = run(tmp_path, events.append)
    backbone = tiny_backbone()
    shared = SharedPrompt.load(tmp_path / "shared", backbone)
    assert shared.digest == found.shared.digest and shared.manifest.tasks == tuple(TASKS)
    start = SharedPrompt.create(
        METHOD.start(_context(backbone)),
        torch.ones(3, 4),
        torch.ones(3, 32),
        tasks=list(TASKS),
        backbone=backbone,
        slot="prefix",
        seed=0,
    )
    for number, name in enumerate(TASKS):
        prompt = Prompt.load(tmp_path / "tasks" / name / "prompt", backbone)
        assert prompt.manifest.method == "mpt" and prompt.digest == found.runs[name].prompt.digest
        column, row = (shared.tensors[f"prefix_task_{x}"][number] for x in ("cols", "rows"))
        torch.testing.assert_close(
            prompt.vectors, shared.tensors["prompt_embeddings"] * (column @ row)
        )
        assert [e["event"] for e in read_log(tmp_path / "tasks" / name)] == ["test", "done"]
    assert not torch.equal(shared.tensors["prompt_embeddings"], start.tensors["prompt_embeddings"])
    log = read_log(tmp_path)
    assert [row["event"] for row in log].count("step") == 8
    assert set(next(row for row in log if row["event"] == "tasks")["tasks"]) == set(TASKS)
    assert log[0]["tasks"] == list(TASKS) and log[-1]["digest"] == shared.digest
    told = {e["task"] for e in events if e["event"] == "teacher_validation"}
    assert told == set(TASKS)


def _context(backbone: CausalBackbone) -> Any:
    return init_context(backbone, TASKS["reviews"].spec, 0)


def test_the_alarm_is_each_tasks_own() -> None:
    """Labels that say nothing cannot be learnt, and only that task is told so."""
    noise = replace(
        TASKS["reviews"],
        validation=tuple(
            replace(r, target=("negative", "positive")[i // 2 % 2])
            for i, r in enumerate(TASKS["reviews"].validation)
        ),
    )
    config = TrainConfig(steps=60, batch_rows=16, eval_every=20)
    tasks: dict[str, Task] = {"noise": noise, "reviews": review_task(120)}
    found = multitask(tiny_backbone(), tasks, METHOD, config, distil=0)
    assert found.runs["noise"].alarm is not None
    assert found.runs["reviews"].alarm is None
    accuracy = found.runs["reviews"].validation.accuracy
    assert accuracy is not None and accuracy > 0.7


class _Killed(Exception):
    """Stands for a death between two lines of code."""


@pytest.mark.parametrize(
    "death", [("teacher_validation", 5), ("step", 3), ("step", 7), ("done", 1)]
)
def test_gone_on_with_it_ends_bit_equal(tmp_path: Path, death: tuple[str, int]) -> None:
    whole = run(tmp_path / "whole")
    name, left = death

    def die(event: dict[str, Any]) -> None:
        nonlocal left
        left -= event["event"] == name
        if left == 0:
            raise _Killed

    with pytest.raises(_Killed):
        run(tmp_path / "cut", die)
    cut = run(tmp_path / "cut")
    assert cut.shared.digest == whole.shared.digest
    for task in TASKS:
        assert cut.runs[task].prompt.digest == whole.runs[task].prompt.digest
    assert timeless(tmp_path / "cut") == timeless(tmp_path / "whole")
    again = run(tmp_path / "cut")
    assert again.shared.digest == whole.shared.digest


def timeless(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in read_log(folder)]


def test_the_seed_is_the_only_chance() -> None:
    first, second = run(), run()
    assert first.shared.digest == second.shared.digest
    other = run(config=CONFIG.model_copy(update={"seed": 1}))
    assert other.shared.digest != first.shared.digest


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    for name in ("teacher_validation", "step"):

        def stop(event: dict[str, Any], left: list[str] = [name]) -> None:  # noqa: B006
            if left == [event["event"]]:
                left.clear()  # a second one would end all at once
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(Interrupted, match=r"multitask --resume"):
            run(tmp_path, stop)
    assert run(tmp_path).shared.digest == run().shared.digest


def test_a_late_prompt_remembers_every_tasks_inputs(tmp_path: Path) -> None:
    method = METHOD.model_copy(update={"slot": "suffix"})
    found = multitask(tiny_backbone(), TASKS, method, CONFIG, folder=tmp_path)
    (inputs,) = (row for row in read_log(tmp_path) if row["event"] == "inputs")
    assert inputs["place"] == "memory" and inputs["tokens"] > 0
    shared, *_ = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["runs"]
    assert sum(own.tokens for own in found.runs.values()) == pytest.approx(shared["tokens"], abs=2)
    cold = CONFIG.model_copy(update={"inputs": "recompute"})
    other = multitask(tiny_backbone(), TASKS, method, cold)
    for name in TASKS:
        torch.testing.assert_close(
            found.runs[name].prompt.vectors, other.runs[name].prompt.vectors, atol=1e-3, rtol=1e-2
        )


def test_given_teachers() -> None:
    backbone = tiny_backbone()
    own = PromptTuning(length=3, init="random")
    teachers = {
        name: train(backbone, task, own, TrainConfig(steps=1)).prompt
        for name, task in TASKS.items()
    }
    seen: list[str] = []
    found = multitask(
        backbone,
        TASKS,
        METHOD,
        CONFIG,
        teachers=teachers,
        observer=lambda e: seen.append(e["event"]),
    )
    assert "teachers" not in seen
    assert found.shared.digest != run().shared.digest
    with pytest.raises(ConfigError, match="not one teacher for each"):
        multitask(backbone, TASKS, METHOD, teachers={"reviews": teachers["reviews"]})
    swapped = {**teachers, "titles": teachers["reviews"]}
    with pytest.raises(ConfigError, match="trained for another task"):
        multitask(backbone, TASKS, METHOD, teachers=swapped)
    with pytest.raises(WrongBackboneError):
        multitask(tiny_backbone(seed=1), TASKS, METHOD, teachers=teachers)


def test_a_target_task_starts_from_what_was_shared() -> None:
    shared = run().shared
    start = shared.start()
    method = MPT(init="prompt", prompt=start)
    config = TrainConfig(steps=1, lr=1e-9, warmup=0)
    method = method.model_copy(update={"factors_lr": 1e-9})
    prompt = train(tiny_backbone(), review_task(60), method, config).prompt
    torch.testing.assert_close(prompt.vectors, start, atol=1e-6, rtol=1e-6)


def test_refusals(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    with pytest.raises(ConfigError, match="two or more"):
        multitask(backbone, {"reviews": TASKS["reviews"]})
    with pytest.raises(ConfigError, match="not a folder's"):
        multitask(backbone, {"../up": TASKS["reviews"], "titles": TASKS["titles"]})
    with pytest.raises(ConfigError, match="no learning rates"):
        multitask(backbone, TASKS, METHOD, TrainConfig(lr="auto"))
    with pytest.raises(ConfigError, match="must be 0 or more"):
        multitask(backbone, TASKS, METHOD, distil=-1)
    with pytest.raises(DataError, match="no train rows"):
        multitask(backbone, {**TASKS, "none": replace(TASKS["reviews"], train=())})
    run(tmp_path)
    with pytest.raises(TrainingError, match="other settings"):
        run(tmp_path, distil=0.5)
    assert json.loads((tmp_path / "shared" / "shared.json").read_text())["seed"] == 0
