"""PromptSRC against its formulas, in float64 and without transformers, on a CLIP's bare weights.

Khattak et al., "Self-regulating Prompts" (ICCV 2023), section 3.2, as its published code has it:
loss = CE + 25 mean |g_P - g| + 10 mean |f_Q - f| + KL(softmax z || softmax z_PQ) / (B K),
P* = sum_t w_t P_t, w_t = exp(-(t - m)^2 / 2 d^2) / sum
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cuecard.methods import PromptSRC
from cuecard.methods.modules.gaussian_average import GaussianAverage
from cuecard.training import TrainConfig
from cuecard.training.objective.loss import PromptBatch, batch_losses
from cuecard.training.train import train
from cuecard.training.trainables.head import drawn_injection, head_of, held_to
from cuecard.training.trainables.initial_method import new_method
from support.oracles.clip import LAYERS, ids_of, image_vector, text_vector, unit, weights_of
from support.tiny_clip import shared_clip, tiny_clip
from support.tiny_vision import LABELS, SPEC, drawn_task, pictures

TEMPLATES = ("a photo of a {label}.", "the red {label}", "a picture, {label}.")


@pytest.mark.parametrize("depth", [1, LAYERS])
def test_the_loss_and_its_gradients_are_those_of_the_formula(depth: int) -> None:
    backbone, records = shared_clip(), pictures(4)
    settings = PromptSRC(depth=depth, length=2, image_length=3, templates=TEMPLATES)
    method: Any = new_method(backbone, SPEC, settings, 3)
    module, weights = method.inner, weights_of(backbone)
    words = weights["text_model.embeddings.token_embedding.weight"][ids_of("a photo")]
    torch.testing.assert_close(module.text[0].double(), words)
    assert (module.text.shape, module.seen.shape) == ((depth, 2, 24), (depth, 3, 32))
    rows = SPEC.encode_rows(records, backbone.tokenizer, "prefix")
    goals = torch.tensor([LABELS.index(str(record.target)) for record in records])
    injection = drawn_injection(method, (0, 0, 0))
    head = head_of(method, injection)
    part = PromptBatch(SPEC, rows, injection, "head", head=head, held=held_to(method))
    (loss,) = batch_losses(backbone, [part])
    parts = {n: p.detach().double().requires_grad_() for n, p in module.named_parameters()}
    images = torch.stack(
        [image_vector(weights, record.images[0], parts["seen"]) for record in records]
    )
    texts = torch.stack([text_vector(weights, [parts["text"], label, "."]) for label in LABELS])
    frozen = torch.stack([image_vector(weights, record.images[0]) for record in records])
    told = [
        sum(text_vector(weights, [each.replace("{label}", label)]) for each in TEMPLATES)
        for label in LABELS
    ]
    plain = torch.stack([unit(torch.as_tensor(total)) for total in told])
    scale = weights["logit_scale"].exp()
    ours, theirs = scale * images @ texts.T, scale * frozen @ plain.T
    kept = theirs.softmax(-1) * (theirs.log_softmax(-1) - ours.log_softmax(-1))
    wanted = (
        functional.cross_entropy(ours, goals)
        + 25 * (texts - plain).abs().mean()
        + 10 * (images - frozen).abs().mean()
        + kept.mean()
    )
    torch.testing.assert_close(loss.double() / len(rows), wanted, atol=1e-4, rtol=1e-4)
    (loss / len(rows)).backward()
    wanted.backward()
    for name, parameter in module.named_parameters():
        found = parts[name].grad
        assert parameter.grad is not None and found is not None and bool(found.any())
        torch.testing.assert_close(parameter.grad.double(), found, atol=1e-4, rtol=1e-3)


def test_what_is_frozen_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frozen towers read each image once, and each name in each template, in a whole run."""
    backbone, task, seen, told = tiny_clip(), drawn_task(40), [], []
    assert backbone.apart() is None  # what is seen from here on is no trial
    image, texts = backbone.whole.get_image_features, backbone.labels.features
    monkeypatch.setattr(
        backbone.whole,
        "get_image_features",
        lambda pixel_values: seen.append(len(pixel_values)) or image(pixel_values=pixel_values),
    )
    monkeypatch.setattr(
        backbone.labels,
        "features",
        lambda names, tokens: told.append(tokens) or texts(names, tokens),
    )
    config = TrainConfig(steps=8, batch_rows=len(task.train) // 2, eval_every=8)
    train(backbone, task, PromptSRC(templates=TEMPLATES), config)
    assert sum(seen) == len({row.images[0] for row in task.train})
    assert [each for each in told if isinstance(each, str) and each != "{label}"] == [*TEMPLATES]


def test_a_run_keeps_the_average_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    after: list[list[Tensor]] = []
    follow = GaussianAverage.follow

    def noted(average: GaussianAverage, now: Any, step: int, steps: int) -> None:
        after.append([tensor.detach().double().clone() for tensor in now])
        follow(average, now, step, steps)

    monkeypatch.setattr(GaussianAverage, "follow", noted)
    free = {"text_weight": 0, "image_weight": 0, "logits_weight": 0}
    settings = PromptSRC(parts=4, part_mean=3, part_deviation=0.8, context_lr=0.02, **free)
    config = TrainConfig(steps=12, eval_every=12)
    run = train(tiny_clip(), drawn_task(40), settings, config)
    assert run.best_step == 12 and len(after) == 12
    weights = torch.exp(-0.5 * ((torch.arange(1.0, 5.0) - 3) / 0.8) ** 2).double()
    weights = weights / weights.sum()
    wanted = [
        sum(w * each[n] for w, each in zip(weights, after[2::3], strict=True)) for n in (0, 1)
    ]
    names = ("label_embeddings", "vision_layer_embeddings")
    for name, tensor, last in zip(names, wanted, after[-1], strict=True):
        kept = run.prompt.tensors[name].double().view(tensor.shape)  # type: ignore[union-attr]
        torch.testing.assert_close(kept, tensor, atol=1e-6, rtol=1e-5)
        assert not torch.allclose(kept, last, atol=1e-3)


def test_a_part_that_no_float_can_weigh_is_the_average_until_others_are() -> None:
    now = torch.randn(3, 2)
    average = GaussianAverage([now], parts=50, mean=45, deviation=1)
    assert average.of([now])[0] is now
    average.follow([now], 1, 50)  # exp(-968)
    torch.testing.assert_close(average.of([now])[0], now)
    later = torch.randn(3, 2)
    average.follow([later], 45, 50)
    torch.testing.assert_close(average.of([now])[0], later)
