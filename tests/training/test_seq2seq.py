"""Training, validation and evaluation on encoder-decoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.comparison.prove import prove
from cuecard.evaluation.evaluate import evaluate
from cuecard.methods import PromptTuning
from cuecard.training import TrainConfig, read_log
from cuecard.training.train import train
from cuecard.training.trainables.capabilities import is_late
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import InputTokens, by_tower
from support.data.reviews import LONG_SPEC, SPEC, review_task, title_task
from support.tiny import tiny_backbone

KINDS = ("t5-gated", "bart")


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_log(folder) if row["event"] == "step"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("places", [(6, 0), (0, 6), (4, 2)], ids=["encoder", "decoder", "both"])
def test_a_prompt_learns_label_words(kind: str, places: tuple[int, int], tmp_path: Path) -> None:
    method = PromptTuning(length=places[0], decoder_length=places[1], init="vocabulary")
    config = TrainConfig(steps=40, batch_rows=8, lr=0.05, warmup=0)
    run = train(tiny_backbone(kind), review_task(), method, config, folder=tmp_path)
    steps = losses(tmp_path)
    assert sum(steps[-8:]) < 0.9 * sum(steps[:8])
    assert run.test is not None and len(run.test.predictions) == len(review_task().test)


@pytest.mark.parametrize("kind", KINDS)
def test_long_label_words_and_the_proof(kind: str, tmp_path: Path) -> None:
    task = review_task(60, LONG_SPEC)
    backbone = tiny_backbone(kind)
    run = train(backbone, task, PromptTuning(length=3, init="labels"), TrainConfig(steps=3))
    proof = prove(backbone, task, run, demonstrations=(2,))
    assert proof.report["test_rows"] == len(task.test)
    assert {row.prompt for row in proof.rows} >= {"majority class", "trained: prompt-tuning"}


@pytest.mark.parametrize("kind", KINDS)
def test_text_to_text(kind: str, tmp_path: Path) -> None:
    task, backbone = title_task(), tiny_backbone(kind)
    method = PromptTuning(length=5, decoder_length=2, init="vocabulary")
    config = TrainConfig(steps=40, batch_rows=8, lr=0.05, warmup=0)
    run = train(backbone, task, method, config, folder=tmp_path)
    steps = losses(tmp_path)
    assert sum(steps[-8:]) < 0.97 * sum(steps[:8])
    found = evaluate(backbone, task.spec, task.test, run.prompt.injection())
    assert set(found.metrics) >= {"exact_match", "token_f1", "rouge_l"}
    assert [p.answer for p in found.predictions] == [p.answer for p in run.test.predictions]  # type: ignore[union-attr]


def test_a_decoders_prompt_computes_every_input_once(tmp_path: Path) -> None:
    backbone, task = tiny_backbone("t5-gated"), review_task(60)
    method = PromptTuning(length=0, decoder_length=4, init="vocabulary")
    config = TrainConfig(steps=6, batch_rows=4, eval_every=2)
    run = train(backbone, task, method, config, folder=tmp_path)
    (kept,) = (row for row in read_log(tmp_path) if row["event"] == "inputs")
    rows = [*task.train, *task.validation]
    ids = {task.spec.encode(r, backbone.tokenizer).context for r in rows}
    assert kept["place"] == "memory" and kept["tokens"] == sum(len(row) + 1 for row in ids)
    assert backbone.counts["remembered"] > 0 and backbone.inputs is not None
    plain = train(backbone, task, method, config.model_copy(update={"inputs": "recompute"}))
    assert plain.validation.loss == pytest.approx(run.validation.loss, abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "slot", "length", "late"),
    [
        ("llama", "prefix", 3, False),
        ("llama", "suffix", 3, True),
        ("bart", "suffix", 3, False),
        ("bart", "prefix", 0, True),
    ],
)
def test_what_stands_late(kind: str, slot: Any, length: int, late: bool) -> None:
    method = PromptTuning(length=length, slot=slot, decoder_length=0 if kind == "llama" else 2)
    assert is_late(tiny_backbone(kind), method, SPEC) is late


@pytest.mark.parametrize("kind", ["bart", "marian-scaled", "marian-apart", "t5-gated"])
def test_a_decoder_prompt_of_words_is_those_words_in_the_decoder(kind: str) -> None:
    """Whether the halves share their embeddings or not."""
    backbone = tiny_backbone(kind)
    method = PromptTuning(length=0, decoder_length=3, init="text", text="good or bad")
    made = new_method(backbone, SPEC, method, seed=0).injection()
    decoder = by_tower(made)["decoder"]
    assert isinstance(decoder, InputTokens)
    ids = backbone.tokenizer("good or bad", add_special_tokens=False)["input_ids"][:3]
    layer = backbone.model.get_decoder().get_input_embeddings()
    assert torch.equal(decoder.vectors, layer(torch.tensor(ids)).detach())
    apart = not torch.equal(backbone.tower_embeddings["decoder"], backbone.embeddings)
    assert apart is (kind == "marian-apart")
