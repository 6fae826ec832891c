"""A head that starts from the labels' words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.artifacts.prompt import answer
from cuecard.errors import ConfigError
from cuecard.evaluation.predict import predict
from cuecard.methods import PromptTuning
from cuecard.training import TrainConfig
from cuecard.training.train import train
from cuecard.training.train_lora import train_lora
from cuecard.training.trainables.word_head import word_head
from support.data.head_tasks import HEAD_SPEC, head_task, number_task
from support.data.reviews import LONG_SPEC, SPEC, reviews
from support.tiny import tiny_backbone

METHOD = PromptTuning(length=4, init="random")
CONFIG = TrainConfig(steps=6, batch_rows=4, eval_every=3, head_start="words", fluency=0.0)


@pytest.mark.parametrize("kind", ["llama", "bloom-alibi", "t5-relu", "bart"])
def test_it_answers_as_the_words_do(kind: str) -> None:
    backbone, records = tiny_backbone(kind), reviews(12)
    head = word_head(backbone, HEAD_SPEC, records)
    assert head.weight.shape == (2, backbone.hidden_size)
    ours, theirs = (
        np.asarray([[*p.probabilities.values()] for p in found])
        for found in (
            predict(backbone, HEAD_SPEC, records, head=head),
            predict(backbone, SPEC, records),
        )
    )
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_words_of_several_tokens_are_their_mean() -> None:
    backbone = tiny_backbone()
    spec = LONG_SPEC.model_copy(update={"head": "trained"})
    rows = backbone.model.get_output_embeddings().weight.float()
    head = word_head(backbone, spec, reviews(4))
    for number, ids in enumerate(LONG_SPEC.continuations(backbone.tokenizer)):
        torch.testing.assert_close(head.weight[number], rows[list(ids)].mean(0))


@pytest.mark.parametrize("fluency", [0.0, 0.5])
def test_template_and_labels_are_trained_saved_and_asked(tmp_path: Path, fluency: float) -> None:
    backbone, task = tiny_backbone(), head_task(60)
    before = backbone.model.get_output_embeddings().weight.clone()
    config = CONFIG.model_copy(update={"fluency": fluency, "head_lr": 0.01})
    run = train(backbone, task, METHOD, config, folder=tmp_path)
    prompt = Prompt.load(tmp_path / "prompt", backbone)
    assert prompt.digest == run.prompt.digest and prompt.manifest.head == "linear"
    head = prompt.head()
    assert head is not None
    start = word_head(backbone, HEAD_SPEC, task.train)
    assert run.best_step == 0 or not torch.equal(head.weight, start.weight)
    assert torch.equal(backbone.model.get_output_embeddings().weight, before)
    found = answer(backbone, prompt, task.test)
    assert run.test is not None
    assert [p.answer for p in found] == [p.answer for p in run.test.predictions]


def test_an_adapters_head_starts_so_too() -> None:
    found = [
        train_lora(tiny_backbone(), head_task(40), None, CONFIG.model_copy(update=changes))
        for changes in (
            {"steps": 1, "lr": 1e-9, "head_lr": 1e-9},
            {"head_start": "zeros"},
            {"lr": 0.01, "head_lr": 0.01},
            {"lr": 0.01, "head_lr": 0.01, "fluency": 0.5},
        )
    ]
    heads = [run.prompt.head() for run in found]
    start = word_head(tiny_backbone(), HEAD_SPEC, head_task(40).train)
    assert heads[0] is not None
    torch.testing.assert_close(heads[0].weight, start.weight, atol=1e-6, rtol=1e-5)
    assert heads[1] is not None and heads[1].weight.abs().max() < 0.1
    assert found[2].adapter.digest != found[3].adapter.digest


def test_where_there_are_no_words_to_start_from() -> None:
    with pytest.raises(ConfigError, match="in place of them"):
        train(tiny_backbone(), number_task(40), METHOD, CONFIG)
    with pytest.raises(ConfigError, match="in place of them"):
        train(tiny_backbone(), replace(head_task(40), spec=SPEC), METHOD, CONFIG)
    with pytest.raises(ConfigError, match="another state"):
        train(tiny_backbone("bert"), head_task(40), METHOD, CONFIG)
    capped = tiny_backbone("gemma2-softcap")
    capped.model.config.final_logit_softcapping = 0.05  # its logits are small
    with pytest.raises(ConfigError, match="no linear function"):
        train(capped, head_task(40), METHOD, CONFIG)
