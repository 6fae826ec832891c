"""What a pooled head reads: the mean of the values that the model's own cache has of an input."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from cuecard.errors import BackboneError
from cuecard.tasks.encoding.head_inputs import HeadRows, pooled_layers, read_for_heads
from cuecard.types import Encoded, Head, Placement, PrefixKV, TokenTfidf
from support.tiny import tiny_backbone

INPUTS = [(5, 6, 7, 8), (9, 10), (5, 6, 7, 8, 11, 12)]
LAYERS = (0, 1)


def by_hand(backbone: object, ids: tuple[int, ...]) -> torch.Tensor:
    """From the cache that transformers fills."""
    with torch.no_grad():
        found = backbone.model(input_ids=torch.tensor([ids]), use_cache=True)  # type: ignore[attr-defined]
    values = [found.past_key_values.layers[layer].values[0] for layer in LAYERS]
    return torch.cat([value.mean(1).flatten() for value in values])


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "opt"])
@pytest.mark.parametrize("known", ["nothing", "remembered", "held", "some"])
def test_means_are_those_of_the_models_own_cache(kind: str, known: str) -> None:
    backbone = tiny_backbone(kind)
    expected = torch.stack([by_hand(backbone, ids) for ids in INPUTS])
    if known == "remembered":
        backbone.remember(INPUTS)
    with backbone.holding(INPUTS[:1] if known == "some" else INPUTS * (known == "held")):
        ran = backbone.counts["tokens"]
        found = backbone.value_means(INPUTS, LAYERS)
        again = backbone.value_means(INPUTS, LAYERS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(found, again)
    if known == "held":
        assert backbone.counts["tokens"] == ran


def test_what_all_inputs_begin_with_counts_too() -> None:
    backbone = tiny_backbone()
    front = tuple(range(5, 25))
    inputs = [(*front, 30, 31), (*front, 32), front]
    expected = torch.stack([by_hand(backbone, ids) for ids in inputs])
    kept = backbone.remember(inputs)
    assert kept is not None and kept.front_ids == front
    found = backbone.value_means(inputs, LAYERS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_an_input_too_long_to_be_packed() -> None:
    backbone = tiny_backbone()
    inputs = [tuple(5 + n % 50 for n in range(length)) for length in (700, 30)]
    backbone.remember(inputs[1:])
    before = backbone.counts["tokens"]
    with backbone.holding(inputs):  # the second one is remembered
        found = backbone.value_means(inputs, LAYERS)
    assert backbone.counts["tokens"] - before == 30 + 700
    expected = torch.stack([by_hand(backbone, ids) for ids in inputs])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_nothing_before_the_prompt() -> None:
    assert tiny_backbone().value_means([()], LAYERS).abs().sum() == 0


def test_an_encoder_has_none() -> None:
    backbone = tiny_backbone("roberta")
    assert backbone.head_width(()) == backbone.hidden_size
    with pytest.raises(BackboneError, match="no values of its inputs alone"):
        backbone.value_means(INPUTS, LAYERS)


@pytest.mark.parametrize("remembered", [False, True])
def test_inputs_run_once_and_the_prompt_gets_gradients(remembered: bool) -> None:
    backbone = tiny_backbone()
    heads, size = backbone.key_shape
    keys_values = torch.randn(2, 2, heads, 3, size, requires_grad=True)
    injection = PrefixKV(keys_values, late=True)
    rows = [Encoded((*ids, 20, 21), (), Placement.at(len(ids))) for ids in INPUTS]
    if remembered:
        kept = backbone.remember(INPUTS)
        assert kept is not None
        backbone.value_means(INPUTS, LAYERS)
    before = backbone.counts["tokens"]
    width = backbone.head_width(LAYERS) + 2
    tfidf = TokenTfidf(torch.tensor([5, 9999]), torch.tensor([1.0, 2.0]))
    head = Head(torch.zeros(2, width), torch.zeros(2), LAYERS, tfidf)
    parts = [HeadRows(rows, injection, head), HeadRows(rows[:1], injection)]
    pooled, plain = read_for_heads(backbone, parts)
    own = sum(map(len, INPUTS))
    assert backbone.counts["tokens"] - before == 4 * 2 + (0 if remembered else own)
    assert pooled.shape == (3, width) and plain.shape == (1, 32)
    assert pooled[:, -2:].tolist() == [[float(5 in ids), 0.0] for ids in INPUTS]
    torch.testing.assert_close(pooled[:1, :32], plain, atol=1e-5, rtol=1e-5)
    pooled.sum().backward()
    assert keys_values.grad is not None and bool(keys_values.grad.abs().sum() > 0)


@pytest.mark.parametrize("count", [1, 2, 6, 12, 24, 30, 80])
def test_a_pooled_head_reads_the_middle_layers(count: int) -> None:
    layers = pooled_layers(count)
    assert 0 < len(layers) <= 8 and all(a < b for a, b in pairwise(layers))
    assert layers[0] >= count // 4 and layers[-1] < max(1, (3 * count + 3) // 4)
