"""Keys and values in closed form that attend as the whole text's do."""

from __future__ import annotations

import pytest
import torch

from cuecard.backbones import CausalBackbone
from cuecard.errors import ConfigError
from cuecard.tasks import TaskSpec
from cuecard.training.compiling.full_text import FullText
from cuecard.training.compiling.matching import fit, matched
from cuecard.types import Encoded, LayerAttention, Record
from support.tiny import shared_backbone, tiny_model, tiny_tokenizer

TEXT = "it is good and not bad : good for one , bad for none . the lazy dog jumps over it . " * 2
PLAIN = TaskSpec(kind="text-to-text", template="{prompt}\n\n{text}\nAnswer:", max_new_tokens=8)
RECORDS = [
    Record({"text": text}, answer)
    for text, answer in (
        ("a film", "bad and good"),
        ("quick brown foxes and one year", "the dog"),
        ("one of the best films of the year", "warm and funny"),
    )
]


def encoded(text: FullText) -> list[Encoded]:
    return text.spec.encode_rows(RECORDS, text.backbone.tokenizer, text.slot)


def with_bos(kind: str) -> CausalBackbone:
    return CausalBackbone(tiny_model(kind), tiny_tokenizer("<s> $A"), f"tiny-{kind}-bos")


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3", "opt"])
@pytest.mark.parametrize("bos", [False, True])
def test_as_many_as_the_text_has_are_the_texts_own(kind: str, bos: bool) -> None:
    text = FullText.of(with_bos(kind) if bos else shared_backbone(kind), PLAIN, TEXT)
    found = matched(text, text.length, encoded(text))
    assert found.late is bos
    torch.testing.assert_close(found.keys_values, text.keys_values, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3", "opt"])
def test_keys_are_those_of_the_same_positions_in_any_precision(kind: str) -> None:
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        backbone = CausalBackbone(tiny_model(kind).to(dtype), tiny_tokenizer(), f"tiny-{kind}")
        text = FullText.of(backbone, PLAIN, TEXT)
        found.append(matched(text, 8, encoded(text)).keys_values)
    assert float((found[1] - found[0]).norm()) < 0.1 * float(found[0].norm())


def test_what_attention_is_asked_with_is_what_the_model_computes() -> None:
    backbone = with_bos("llama")
    ids = tuple(backbone.tokenizer("one of the best films")["input_ids"])
    layers = backbone.layer_attention(ids)
    wanted = backbone.states(backbone.embeddings[torch.tensor(ids)]).keys_values
    assert wanted is not None
    for layer, (keys, values) in zip(layers, wanted, strict=True):
        torch.testing.assert_close(layer.keys, keys, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(layer.values, values, rtol=1e-4, atol=1e-4)
    behind = backbone.layer_attention(ids[3:], wanted[..., :3, :], 3)
    for layer, whole in zip(behind, layers, strict=True):
        torch.testing.assert_close(layer.queries, whole.queries[:, 3:], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(layer.keys, whole.keys, rtol=1e-3, atol=1e-3)


def test_positions_may_be_below_0_where_they_are_rotations() -> None:
    llama, ids = shared_backbone(), [5, 6, 7, 8]
    here, there = (llama.layer_attention(ids, None, place) for place in (0, -9))
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(one.values, other.values, rtol=1e-3, atol=1e-3)
        assert float((one.keys - other.keys).abs().max()) > 0.1
        scores = (each.scores(each.queries[:2], each.keys[:1]) for each in (one, other))
        torch.testing.assert_close(*scores, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cap", [0.0, 20.0])
def test_fewer_keys_attend_nearly_as_all_do(cap: float) -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    # Many keys that are nearly alike: few with a weight each do their work.
    keys = centres.repeat(10, 1)
    keys += 0.01 * torch.randn(60, 8, generator=generator, dtype=torch.float64)
    values = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    queries = torch.randn(200, 8, generator=generator, dtype=torch.float64) + 1
    layer = LayerAttention(queries[None], keys[None], values[None], 0.5, cap)
    found_keys, found_values = fit(layer, queries, keys, values, 24)
    assert found_keys.shape == (24, 8) and found_values.shape == (24, 4)

    def output(some_keys: torch.Tensor, some_values: torch.Tensor) -> torch.Tensor:
        return layer.scores(queries, some_keys).softmax(-1) @ some_values

    wanted = output(keys, values)

    def error(some_keys: torch.Tensor, some_values: torch.Tensor) -> float:
        return float((output(some_keys, some_values) - wanted).pow(2).mean())

    assert error(found_keys, found_values) < 0.1 * error(keys[:24], values[:24])
    sums = [layer.scores(queries, some).logsumexp(-1) for some in (keys, found_keys, keys[:24])]
    assert float((sums[1] - sums[0]).abs().mean()) < float((sums[2] - sums[0]).abs().mean())


@pytest.mark.parametrize(
    ("kind", "said"), [("mistral-sliding", "a sliding window"), ("bloom-alibi", "no positions")]
)
def test_what_has_no_closed_form(kind: str, said: str) -> None:
    text = FullText.of(shared_backbone(kind), PLAIN, TEXT)
    with pytest.raises(ConfigError, match="closed form cannot be had") as refused:
        matched(text, 4, encoded(text))
    assert said in str(refused.value) and "--start first" in str(refused.value)
