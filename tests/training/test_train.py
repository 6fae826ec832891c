from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.artifacts.prompt import answer
from cuecard.errors import (
    ConfigError,
    DataError,
    FrozenError,
    TrainingError,
    WrongBackboneError,
)
from cuecard.methods import PromptTuning, method_settings
from cuecard.training import TrainConfig
from cuecard.training.train import train
from support.data.reviews import LONG_SPEC, SPEC, review_task, title_task
from support.tiny import tiny_backbone

METHOD = PromptTuning(length=8, init="random")


def events(found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in found if event["event"] == name]


def test_it_learns_what_can_be_learnt() -> None:
    run = train(tiny_backbone(), review_task(200), METHOD, TrainConfig(steps=80))
    assert run.test is not None
    assert run.test.score >= 0.75
    assert run.alarm is None


def test_labels_of_several_tokens_learn_too() -> None:
    seen: list[dict[str, Any]] = []
    task, config = review_task(200, LONG_SPEC), TrainConfig(steps=60)
    run = train(tiny_backbone(), task, METHOD, config, observer=seen.append)
    first = events(seen, "step")[0]
    assert first["targets"] >= 8 * min(map(len, task.spec.continuations(tiny_backbone().tokenizer)))
    assert events(seen, "step")[-1]["loss"] < 0.7 * first["loss"]
    assert run.test is not None and run.test.metrics["accuracy"] == run.test.score


def test_text_to_text_lowers_its_loss() -> None:
    seen: list[dict[str, Any]] = []
    run = train(
        tiny_backbone(),
        title_task(),
        METHOD,
        TrainConfig(steps=60, batch_rows=16),
        observer=seen.append,
    )
    losses = [event["validation_loss"] for event in events(seen, "validation")]
    assert losses[-1] < losses[0] - 0.3
    assert run.validation.accuracy is None
    assert run.test is not None
    assert set(run.test.vectors) == {"exact_match", "token_f1", "rouge_l"}


def test_accumulation_is_a_larger_batch() -> None:
    task = review_task(60)
    whole = TrainConfig(steps=1, batch_rows=8, warmup=0, clip=0)
    parts = whole.model_copy(update={"batch_rows": 4, "accumulation": 2})
    # One epoch's first 8 rows in one batch or in two: the same rows only if there are just 8.
    eight = replace(task, train=task.train[:8])
    one = train(tiny_backbone(), eight, METHOD, whole)
    two = train(tiny_backbone(), eight, METHOD, parts)
    torch.testing.assert_close(one.prompt.vectors, two.prompt.vectors, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("select", ["loss", "accuracy"])
def test_the_best_step_is_kept(select: Any) -> None:
    seen: list[dict[str, Any]] = []
    config = TrainConfig(steps=30, eval_every=3, lr=0.5, schedule="constant", select=select)
    run = train(tiny_backbone(), review_task(), METHOD, config, observer=seen.append)
    looks = events(seen, "validation")
    by = {
        "loss": lambda e: (-e["validation_loss"], e["validation_accuracy"]),
        "accuracy": lambda e: (e["validation_accuracy"], -e["validation_loss"]),
    }
    best = max(looks, key=by[select])
    assert run.best_step == best["step"]
    assert run.validation.accuracy == best["validation_accuracy"]
    assert run.validation.loss == best["validation_loss"]


def test_patience_stops_early() -> None:
    config = TrainConfig(steps=200, eval_every=2, patience=2, lr=1e-9)
    run = train(tiny_backbone(), review_task(60), METHOD, config)
    assert run.steps <= 10


def test_lr_auto_tries_a_few_and_shows_them() -> None:
    seen: list[dict[str, Any]] = []
    config = TrainConfig(steps=5, lr="auto")
    run = train(tiny_backbone(), review_task(60), METHOD, config, observer=seen.append)
    tried = events(seen, "lr")
    assert len(tried) == 3
    assert run.lr == min(tried, key=lambda e: e["loss"])["lr"]


def test_lr_auto_is_one_pass_per_step_for_all_its_rates() -> None:
    backbone = tiny_backbone()
    passes: list[int] = []

    def count(event: dict[str, Any]) -> None:
        if event["event"] in ("start", "lr"):
            passes.append(backbone.counts["calls"])
            backbone.reset_counts()

    config = TrainConfig(steps=5, lr="auto")
    train(backbone, review_task(60), METHOD, config, observer=count)
    # Five steps; the start that the rates share and each one's end are validated in a pass each.
    assert passes[1:] == [5 + 1 + 3, 0, 0]


def test_adafactor_takes_the_papers_rate() -> None:
    run = train(
        tiny_backbone(), review_task(60), METHOD, TrainConfig(steps=2, optimizer="adafactor")
    )
    assert run.lr == 0.3


def test_divergence_is_an_error_and_the_checkpoint_stays(tmp_path: Path) -> None:
    backbone = tiny_backbone()

    def blow_up(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 3:
            with torch.no_grad():
                backbone.model.get_output_embeddings().weight.fill_(torch.inf)

    config = TrainConfig(steps=50, checkpoint_every=2)
    with pytest.raises(TrainingError, match=r"(?s)diverged.*step 4"):
        train(backbone, review_task(60), METHOD, config, folder=tmp_path, observer=blow_up)
    assert (tmp_path / "checkpoint.pt").is_file()
    assert not (tmp_path / "prompt").exists()


def test_a_backbone_that_changes_is_caught() -> None:
    backbone = tiny_backbone()

    def meddle(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            with torch.no_grad():
                next(backbone.model.parameters()).view(-1)[5] += 1e-4

    with pytest.raises(FrozenError, match="changed during training"):
        train(backbone, review_task(60), METHOD, TrainConfig(steps=2), observer=meddle)


def test_the_alarm_rings_where_nothing_was_learnt() -> None:
    task = review_task(100)
    shuffled = replace(
        task,
        validation=tuple(
            replace(r, fields={"text": "same"}, row=i) for i, r in enumerate(task.validation)
        ),
    )
    run = train(tiny_backbone(), shuffled, METHOD, TrainConfig(steps=3))
    assert run.alarm is not None and "most common label" in run.alarm


def test_missing_rows_are_refused() -> None:
    task = review_task(60)
    for name in ("train", "validation"):
        with pytest.raises(DataError, match=f"no {name} rows"):
            train(tiny_backbone(), replace(task, **{name: ()}), METHOD)
    run = train(tiny_backbone(), replace(task, test=()), METHOD, TrainConfig(steps=1))
    assert run.test is None and "test" not in run.prompt.manifest.metrics


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown method"):
        method_settings("prompt_tuning", {})
    with pytest.raises(ConfigError, match="compares a classification's labels"):
        train(tiny_backbone(), title_task(), METHOD, TrainConfig(loss="labels"))
    for lr in (-1.0, 0.0):
        with pytest.raises(ConfigError, match="positive number"):
            train(tiny_backbone(), review_task(60), METHOD, TrainConfig(lr=lr))


def test_forward_calls_are_counted() -> None:
    """One pass per step that holds the prompt once: a lost optimisation changes this count."""
    backbone = tiny_backbone()
    config = TrainConfig(steps=4, eval_every=4, batch_rows=8)
    seen: list[tuple[str, dict[str, int]]] = []

    def count(event: dict[str, Any]) -> None:
        seen.append((event["event"], dict(backbone.counts)))
        backbone.reset_counts()

    method = PromptTuning(length=40, init="random")
    train(backbone, review_task(60), method, config, observer=count)
    steps = [counts for name, counts in seen if name == "step"]
    assert [counts["calls"] for counts in steps] == [1] * 4
    assert all(counts["logits"] in range(1, 9) for counts in steps)
    task = review_task(60)
    lengths = [len(task.spec.encode(row, backbone.tokenizer).context) for row in task.train]
    assert all(counts["tokens"] <= 40 + 8 * max(lengths) for counts in steps)


def test_template_and_slot_must_agree() -> None:
    infix = SPEC.model_copy(update={"template": "{prompt}Review: {text}"})
    for slot in ("prefix", "suffix"):
        spec, method = infix, METHOD.model_copy(update={"slot": slot})
        with pytest.raises(ConfigError, match="do not agree on where the prompt goes"):
            train(tiny_backbone(), review_task(60, spec), method, TrainConfig(steps=1))


def test_an_infix_prompt_behind_a_field_remembers_its_inputs() -> None:
    for template, remembered in (("{text}{prompt} =", True), ("So: {prompt}{text} =", False)):
        backbone = tiny_backbone()
        spec = SPEC.model_copy(update={"template": template})
        method = METHOD.model_copy(update={"slot": "infix"})
        run = train(backbone, review_task(60, spec), method, TrainConfig(steps=2))
        assert (backbone.inputs is not None) is remembered
        assert run.prompt.manifest.slot == "infix" and run.prompt.adapter_config() is None


def test_a_prompt_keeps_what_calibration_takes_off() -> None:
    backbone, task = tiny_backbone(), review_task(200)
    runs = {
        wanted: train(backbone, task, METHOD, TrainConfig(steps=10, calibrate=wanted))
        for wanted in (True, False)
    }
    assert torch.equal(runs[True].prompt.vectors, runs[False].prompt.vectors)
    assert runs[True].validation.loss == runs[False].validation.loss
    prior = runs[True].prompt.manifest.prior
    assert prior is not None and set(prior) == set(SPEC.labels)
    assert runs[False].prompt.manifest.prior is None
    raw, found = runs[False].test, runs[True].test
    assert raw is not None and found is not None
    for one, other in zip(raw.predictions, found.predictions, strict=True):
        for label in SPEC.labels:
            assert other.scores[label] == pytest.approx(one.scores[label] - prior[label])
    asked = answer(backbone, runs[True].prompt, task.test)
    assert [a.scores for a in asked] == [p.scores for p in found.predictions]


def test_a_prompt_is_asked_in_its_own_slot() -> None:
    backbone, task = tiny_backbone(), review_task(60)
    run = train(
        backbone, task, PromptTuning(length=4, init="labels", slot="suffix"), TrainConfig(steps=2)
    )
    assert run.test is not None
    asked = answer(backbone, run.prompt, task.test)
    for found, expected in zip(asked, run.test.predictions, strict=True):
        assert found.scores == pytest.approx(expected.scores, abs=1e-4)
    with pytest.raises(WrongBackboneError):
        answer(tiny_backbone(seed=1), run.prompt, task.test)


def test_a_run_counts_its_tokens_those_of_steps_twice() -> None:
    backbone, task = tiny_backbone(), review_task(60)
    seen: list[tuple[str, int]] = []

    def watch(event: dict[str, Any]) -> None:
        seen.append((event["event"], backbone.counts["tokens"]))

    run = train(backbone, task, METHOD, TrainConfig(steps=4, eval_every=2), observer=watch)
    pairs = itertools.pairwise(seen)
    spent = [(name, now - before) for (_, before), (name, now) in pairs]
    looks = sum(tokens for name, tokens in spent if name == "validation")
    steps = sum(tokens for name, tokens in spent if name == "step")
    assert looks > 0 and steps > 0
    assert run.tokens == looks + 2 * steps
    assert run.method == METHOD
