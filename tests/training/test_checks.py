"""What a run would refuse at its end, it refuses before its first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from cuecard.backbones import CausalBackbone
from cuecard.errors import BackboneError, ConfigError, CuecardError, DataError
from cuecard.methods import MPT, PromptTuning
from cuecard.tasks import Task
from cuecard.training import LoraSettings, SweepConfig, TrainConfig
from cuecard.training.multitask import multitask
from cuecard.training.setup import TrainSetup
from cuecard.training.sweep import sweep
from cuecard.training.train import train
from cuecard.training.train_lora import train_lora
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Placement, Record
from support.data.head_tasks import answer_task, choice_task
from support.data.pairs import pair_task
from support.data.reviews import LONG_SPEC, SPEC, TEXT_SPEC, review_task, title_task
from support.tiny import tiny_backbone, tiny_model, tiny_tokenizer

METHOD = PromptTuning(length=4, init="random")
CONFIG = TrainConfig(steps=2, batch_rows=4)


def texts(**changes: Any) -> Task:
    task = title_task()
    return replace(task, spec=TEXT_SPEC.model_copy(update=changes))


def check_run(backbone: Any, task: Task, method: PromptTuning, config: TrainConfig) -> TrainSetup:
    return TrainSetup.of(backbone, task, TrainablePrompt(method), config)


def run_train(backbone: Any, task: Task, folder: Path) -> object:
    return train(backbone, task, METHOD, CONFIG, folder=folder)


def run_sweep(backbone: Any, task: Task, folder: Path) -> object:
    space = SweepConfig(grid={"lr": (0.1, 0.2)})
    return sweep(backbone, task, space, METHOD, CONFIG, folder=folder)


def run_lora(backbone: Any, task: Task, folder: Path) -> object:
    return train_lora(backbone, task, LoraSettings(), CONFIG, folder=folder)


def run_multitask(backbone: Any, task: Task, folder: Path) -> object:
    both = {"one": task, "other": task}
    method = MPT(length=4, init="random")
    return multitask(backbone, both, method, CONFIG, folder=folder)


RUNS: dict[str, Callable[[Any, Task, Path], object]] = {
    "train": run_train,
    "sweep": run_sweep,
    "lora": run_lora,
    "multitask": run_multitask,
}


@pytest.mark.parametrize("how", RUNS)
def test_every_way_to_train_refuses_before_it_writes(how: str, tmp_path: Path) -> None:
    backbone = tiny_backbone()

    def refused(task: Task, error: type[CuecardError], said: str) -> CuecardError:
        backbone.reset_counts()
        with pytest.raises(error, match=said) as found:
            RUNS[how](backbone, task, tmp_path / "run")
        assert backbone.counts["calls"] <= 1  # of the probe
        assert not (tmp_path / "run").exists()
        return found.value

    error = refused(texts(max_new_tokens=250), ConfigError, "no room")
    assert "250 new tokens" in str(error.got) and "task.max_new_tokens" in str(error.hint)
    long = review_task(40)
    record = Record({"text": "bad " * 300}, "negative", "reviews.csv", 99)
    long = replace(
        long, test=(*long.test, record), spec=SPEC.model_copy(update={"max_length": 400})
    )
    assert refused(long, ConfigError, "no room").where == "reviews.csv, row 99"
    refused(replace(long, train=()), DataError, "no train rows")
    with torch.no_grad():
        backbone.model.get_output_embeddings().weight[7, 0] = torch.nan
    error = refused(review_task(40), BackboneError, "finite")
    assert "lm_head" in str(error.got) or "embed" in str(error.got)


@pytest.mark.parametrize("how", RUNS)
def test_every_way_to_train_has_the_one_set_up(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that is added to it is made by all of them."""

    def refuse(*given: Any, **options: Any) -> TrainSetup:
        raise ConfigError("a check that was added")

    monkeypatch.setattr(TrainSetup, "of", refuse)
    with pytest.raises(ConfigError, match="was added"):
        RUNS[how](tiny_backbone(), review_task(40), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_room_that_is_just_enough() -> None:
    """256 positions: the longest row, four vectors, and the answer."""
    backbone = tiny_backbone()
    rows = [TEXT_SPEC.encode(record, backbone.tokenizer) for record in title_task().test]
    longest = max(rows, key=lambda row: len(row.context))
    most = 256 - 4 - len(longest.context)
    checked = check_run(backbone, texts(max_new_tokens=most), METHOD, CONFIG)
    assert len(checked.rows) == len(checked.task.train)
    with pytest.raises(ConfigError, match="no room") as refused:
        check_run(backbone, texts(max_new_tokens=most + 1), METHOD, CONFIG)
    assert f"task.max_new_tokens to {most} or less" in str(refused.value.hint)
    injection = checked.start.injection()
    backbone.generate([longest.context], [Placement()], injection, most)
    with pytest.raises(BackboneError, match="longer"):
        backbone.generate([longest.context], [Placement()], injection, most + 1)


def test_without_test_rows_nothing_is_generated() -> None:
    check_run(tiny_backbone(), replace(texts(max_new_tokens=250), test=()), METHOD, CONFIG)


@pytest.mark.parametrize("kind", ["t5-gated", "bart"])
def test_an_encoder_decoder_has_room_for_each_half(kind: str) -> None:
    backbone = tiny_backbone(kind)
    check_run(backbone, texts(max_new_tokens=4), METHOD, CONFIG)
    most = backbone.max_positions - backbone.opening_length
    check_run(backbone, texts(max_new_tokens=most), METHOD, CONFIG)
    with pytest.raises(ConfigError, match="no room"):
        check_run(backbone, texts(max_new_tokens=most + 1), METHOD, CONFIG)
    decoder = PromptTuning(length=4, decoder_length=3, init="random")
    check_run(backbone, texts(max_new_tokens=most - 3), decoder, CONFIG)
    with pytest.raises(ConfigError, match="no room"):
        check_run(backbone, texts(max_new_tokens=most - 2), decoder, CONFIG)


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("llama", review_task(60, LONG_SPEC)),
        ("llama", choice_task(60)),
        ("llama", answer_task(60)),
        ("bert", pair_task()),
    ],
)
def test_every_kind_of_answer_counts(kind: str, task: Task) -> None:
    backbone = tiny_backbone(kind)
    check_run(backbone, task, METHOD, CONFIG)
    tight = PromptTuning(length=240, init="random")
    with pytest.raises(ConfigError, match="no room"):
        check_run(backbone, task, tight, CONFIG)


def test_a_token_without_an_embedding_names_its_row() -> None:
    tokenizer = tiny_tokenizer.__wrapped__()
    tokenizer.add_tokens(["~~squad~~"])
    backbone = CausalBackbone(tiny_model(), tokenizer, "grown")
    task = review_task(40)
    check_run(backbone, task, METHOD, CONFIG)
    record = Record({"text": "fine ~~squad~~"}, "positive", "reviews.csv", 7)
    with pytest.raises(BackboneError, match="no embedding") as refused:
        check_run(backbone, replace(task, validation=(*task.validation, record)), METHOD, CONFIG)
    assert "reviews.csv, row 7" in str(refused.value.where)
    assert "~~squad~~" in str(refused.value.got)
    word = SPEC.model_copy(update={"words": {"negative": "bad", "positive": "~~squad~~"}})
    with pytest.raises(BackboneError, match="no embedding") as refused:
        check_run(backbone, replace(task, spec=word), METHOD, CONFIG)
    assert "the labels" in str(refused.value.where)


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -0.1, 0.0])
def test_rates_are_positive_numbers(rate: float) -> None:
    with pytest.raises(ConfigError, match="positive number"):
        TrainConfig(lr=rate)
    unchecked = CONFIG.model_copy(update={"lr": rate})
    with pytest.raises(ConfigError, match="positive number"):
        check_run(tiny_backbone(), review_task(40), METHOD, unchecked)
    for name in ("head_lr", "weight_decay", "clip"):
        if name == "head_lr" or rate != 0:
            with pytest.raises(ValidationError):
                TrainConfig(**{name: rate})


def test_embeddings_and_starts_are_numbers() -> None:
    backbone = tiny_backbone()
    start = torch.zeros(3, 32)
    start[1, 1] = torch.inf
    method = PromptTuning(init="prompt", prompt=start)
    with pytest.raises(ConfigError, match="not finite"):
        check_run(backbone, review_task(40), method, CONFIG)
    with torch.no_grad():
        backbone.model.get_input_embeddings().weight[383] = torch.nan  # in no row's text
    with pytest.raises(BackboneError, match="embed_tokens"):
        check_run(tiny_backbone_of(backbone.model), review_task(40), METHOD, CONFIG)


def tiny_backbone_of(model: Any) -> CausalBackbone:
    return CausalBackbone(model, tiny_tokenizer(), "tiny")
