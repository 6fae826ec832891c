"""Hidden words of the input, which a prompt leaves sayable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.methods import PromptTuning
from cuecard.tasks import TaskSpec, collate
from cuecard.training import TrainConfig
from cuecard.training.objective.fluency import FluencyTerm, FluentRows, fluency_losses
from cuecard.training.objective.loss import PromptBatch, batch_losses
from cuecard.training.train import train
from cuecard.types import InputTokens
from support.data.reviews import MASKED_SPEC, SPEC, review_task, reviews
from support.tiny import tiny_backbone, tiny_encoder

METHOD = PromptTuning(length=4, init="random")
CONFIG = TrainConfig(steps=6, batch_rows=4, eval_every=3, checkpoint_every=2, lr=0.05)


def vectors(backbone: object, count: int = 3) -> torch.Tensor:
    embeddings: torch.Tensor = backbone.embeddings  # type: ignore[attr-defined]
    return embeddings[5 : 5 + count].clone().requires_grad_()


def test_a_causal_model_says_words_after_those_before_them() -> None:
    backbone, start = tiny_backbone(), vectors(tiny_backbone())
    rows = [SPEC.encode(record, backbone.tokenizer) for record in reviews(5)]
    injection = InputTokens(start)
    part = FluentRows(rows, injection, FluencyTerm(0.5, (0, 1, 2)))
    (found,) = fluency_losses(backbone, [part])
    # Every word that may be hidden, by the words before it alone.
    special = {int(token) for token in backbone.tokenizer.all_special_ids}
    each = []
    for row in rows:
        for place in range(row.slot + 1, len(row.context)):
            if row.context[place] in special:
                continue
            cut = SPEC.encode(reviews(1)[0], backbone.tokenizer)
            cut = type(cut)(row.context[:place], (), row.placement)
            batch = collate([(cut, row.context[place : place + 1])])
            said = backbone.read(batch, injection).nll(batch.target_ids)
            each.append(float(said.detach()))
    draws = [
        float(loss.detach())
        for n in range(300)
        for loss in fluency_losses(backbone, [FluentRows(rows, injection, FluencyTerm(1.0, (n,)))])
    ]
    assert min(each) <= min(draws) and max(draws) <= max(each)
    assert sum(draws) / 300 == pytest.approx(sum(each) / len(each), rel=0.02)
    again = fluency_losses(backbone, [FluentRows(rows, injection, FluencyTerm(1.0, (0, 1, 2)))])[0]
    assert float(found.detach()) == pytest.approx(0.5 * float(again.detach()))
    (gradient,) = torch.autograd.grad(found, start)
    assert gradient.abs().sum() > 0


def test_a_masked_model_says_words_that_are_masked() -> None:
    backbone = tiny_backbone("bert")
    rows = [MASKED_SPEC.encode(record, backbone.tokenizer) for record in reviews(5)]
    start = vectors(backbone)
    part = FluentRows(rows, InputTokens(start), FluencyTerm(1.0, (7,)))
    (found,) = fluency_losses(backbone, [part])
    (gradient,) = torch.autograd.grad(found, start)
    assert float(found.detach()) > 0 and gradient.abs().sum() > 0


def test_a_masked_word_is_not_seen() -> None:
    backbone = tiny_backbone("bert")
    whole = MASKED_SPEC.encode(reviews(1)[0], backbone.tokenizer)
    row = replace(whole, context=whole.context[:8], mask=None)
    injection = InputTokens(vectors(backbone).detach())
    special = {int(n) for n in backbone.tokenizer.all_special_ids}
    mask = int(backbone.tokenizer.mask_token_id)
    each = {}
    for place, word in enumerate(row.context):
        if word not in special:
            hidden = (*row.context[:place], mask, *row.context[place + 1 :])
            batch = collate([(replace(row, context=hidden, mask=place), (word,))])
            each[place] = float(backbone.read(batch, injection).nll(batch.target_ids))
    assert len(each) < 10  # of which one is hidden
    parts = [FluentRows([row], injection, FluencyTerm(1.0, (n,))) for n in range(60)]
    found = [float(loss) for loss in fluency_losses(backbone, parts)]
    assert all(min(abs(loss - one) for one in each.values()) < 1e-4 for loss in found)
    assert len({round(loss, 4) for loss in found}) > 1


def test_it_is_added_to_every_targets_loss() -> None:
    backbone = tiny_backbone()
    rows = [SPEC.encode(record, backbone.tokenizer) for record in reviews(4)]
    injection = InputTokens(vectors(backbone))
    fluency = FluencyTerm(0.3, (1,))
    plain, more = batch_losses(
        backbone,
        [
            PromptBatch(SPEC, rows, injection, "labels"),
            PromptBatch(SPEC, rows, injection, "labels", fluency=fluency),
        ],
    )
    (words,) = fluency_losses(backbone, [FluentRows(rows, injection, fluency)])
    assert float((more - plain).detach()) == pytest.approx(4 * float(words.detach()), rel=1e-5)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_run_with_it_is_another_and_goes_on_to_the_same_bits(tmp_path: Path, kind: str) -> None:
    backbone = tiny_backbone(kind)
    spec = MASKED_SPEC if kind == "bert" else SPEC
    task, config = review_task(40, spec), CONFIG.model_copy(update={"fluency": 0.5})
    whole = train(backbone, task, METHOD, config)
    plain = train(backbone, task, METHOD, CONFIG)
    assert whole.prompt.digest != plain.prompt.digest and whole.test is not None

    def stop(event: dict[str, object]) -> None:
        if event["event"] == "step" and event["step"] == 4:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        train(backbone, task, METHOD, config, folder=tmp_path, observer=stop)
    resumed = train(backbone, task, METHOD, config, folder=tmp_path)
    assert resumed.prompt.digest == whole.prompt.digest


def test_who_says_no_words_of_the_input() -> None:
    config = CONFIG.model_copy(update={"fluency": 0.5})
    late = PromptTuning(length=4, init="random", slot="suffix")
    with pytest.raises(ConfigError, match="comes after the words"):
        train(tiny_backbone(), review_task(40), late, config)
    with pytest.raises(ConfigError, match="does not say the words"):
        train(tiny_backbone("t5-relu"), review_task(40), METHOD, config)
    headed = TaskSpec.parse({**SPEC.model_dump(), "head": "trained"})
    with pytest.raises(ConfigError, match="does not say the words"):
        train(tiny_encoder(), review_task(40, headed), METHOD, config)
