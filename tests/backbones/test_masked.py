"""Masked models: what differs from model to model, and what holds for each."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AlbertConfig, AutoModelForMaskedLM, ElectraConfig, RobertaConfig

from cuecard.backbones import MaskedBackbone
from cuecard.errors import BackboneError, ConfigError
from cuecard.evaluation.predict import predict
from cuecard.methods import DeepPrompts, PromptTuning, PTuningV2
from cuecard.tasks import TaskSpec, collate
from cuecard.training.trainables.capabilities import check_supported
from cuecard.types import Encoded, InputTokens, LayerTokens, Placement, PrefixKV, Record
from support.data.reviews import LONG_SPEC, MASKED_SPEC, TEXT_SPEC, reviews
from support.oracles.masked import with_masks
from support.tiny import MASKED, tiny_backbone, tiny_model, tiny_tokenizer

LONG = MASKED_SPEC.model_copy(update={"words": LONG_SPEC.words})
SIZES = {
    "vocab_size": 384,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "pad_token_id": 0,
}
every = pytest.mark.parametrize("kind", MASKED)


def rows_on(backbone: MaskedBackbone, spec: TaskSpec = MASKED_SPEC) -> list[Encoded]:
    return [spec.encode(record, backbone.tokenizer) for record in reviews(5)]


def read(backbone: MaskedBackbone, rows: list[Encoded], injection: Any = None) -> Tensor:
    with torch.no_grad():
        return backbone.forward(collate([(row, ()) for row in rows], read="next"), injection)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.3


@every
def test_label_words_are_scored_as_in_float64_by_hand(kind: str) -> None:
    """One mask per token of a word, their log-probabilities at one reading added up."""
    backbone, vectors = tiny_backbone(kind), drawn(4, 32)
    model = copy.deepcopy(backbone.model).double()
    found = predict(backbone, LONG, reviews(5), InputTokens(vectors))
    words = dict(zip(LONG.labels, LONG.continuations(backbone.tokenizer), strict=True))
    assert {len(ids) for ids in words.values()} != {1}
    for row, prediction in zip(rows_on(backbone, LONG), found, strict=True):
        for label, word in words.items():
            ids, slot = with_masks(row, len(word))
            embeds = model.get_input_embeddings()(torch.tensor(ids))
            embeds = torch.cat([embeds[:slot], vectors.double(), embeds[slot:]])
            with torch.no_grad():
                logs = model(inputs_embeds=embeds[None]).logits[0].log_softmax(-1)
            at = row.mask + len(vectors)
            score = sum(float(logs[at + step, token]) for step, token in enumerate(word))
            assert prediction.scores[label] == pytest.approx(score, abs=1e-3)


@every
def test_without_a_prompt_it_is_the_model_on_the_tokenizers_own_ids(kind: str) -> None:
    backbone = tiny_backbone(kind)
    record = Record({"text": "a gob of drivel"}, None)
    row = MASKED_SPEC.encode(record, backbone.tokenizer)
    ids = backbone.tokenizer("Review: a gob of drivel\nSentiment: <mask>.")["input_ids"]
    assert list(row.context) == ids[:-1] and ids[-1] == 2
    with torch.no_grad():
        plain = backbone.model(input_ids=torch.tensor([ids])).logits[0, row.mask]
    torch.testing.assert_close(read(backbone, [row])[0], plain, atol=1e-5, rtol=1e-5)


@every
def test_states_are_the_last_layers_at_the_reads(kind: str) -> None:
    backbone, vectors = tiny_backbone(kind), drawn(3, 32).requires_grad_()
    row = rows_on(backbone)[0]
    batch = collate([(row, ()), (row, ())], read="next")
    (reads,) = backbone.read_many([(batch, InputTokens(vectors))])
    states = reads.states()
    assert states.shape == (2, 32) and states.dtype == torch.float32
    embeds = backbone.model.get_input_embeddings()(torch.tensor(with_masks(row, 1)[0]))
    embeds = torch.cat([embeds[:1], vectors, embeds[1:]])
    plain = backbone.model.base_model(inputs_embeds=embeds[None]).last_hidden_state[0]
    torch.testing.assert_close(states[1], plain[row.mask + 3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(reads.logits(), backbone.forward(batch, InputTokens(vectors)))
    (found,) = torch.autograd.grad(states[:, 0].sum(), vectors)
    assert bool((found != 0).any())


@every
def test_equal_rows_run_once_and_the_head_at_reads_alone(kind: str) -> None:
    backbone = tiny_backbone(kind)
    row = rows_on(backbone)[0]
    read(backbone, [row])
    backbone.reset_counts()
    with torch.no_grad():
        backbone.forward(collate([(row, (5, 6)), (row, (7, 8))]), None)
    assert backbone.counts["calls"] == 1 and backbone.counts["logits"] == 4
    assert backbone.counts["tokens"] == len(row.context) + 1 + 1


@every
def test_many_logits_are_made_in_pieces(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, vectors = tiny_backbone(kind), drawn(3, 32).requires_grad_()
    rows = rows_on(backbone, LONG)
    batch = collate([(row, row.target) for row in rows])

    def loss() -> tuple[Tensor, Tensor]:
        (reads,) = backbone.read_many([(batch, InputTokens(vectors))])
        total = reads.nll(batch.target_ids).sum()
        return total.detach(), torch.autograd.grad(total, vectors)[0]

    whole = loss()
    monkeypatch.setattr("cuecard.backbones.masked.WHOLE_BYTES", 0)
    monkeypatch.setattr("cuecard.backbones.masked.PIECE_BYTES", 2 * 4 * 384)
    for found, expected in zip(loss(), whole, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
def test_a_prefix_of_any_kind_is_seen(kind: str) -> None:
    backbone = tiny_backbone(kind)
    rows = rows_on(backbone)
    found = read(backbone, rows, PrefixKV(drawn(2, 2, 4, 3, 8)))
    assert not torch.allclose(found, read(backbone, rows), atol=1e-2)
    assert backbone.model.config._attn_implementation == "sdpa"
    states = backbone.states(backbone.embeddings[5:9])
    assert states.hidden.shape == (2, 4, 32)
    assert states.keys_values is not None and states.keys_values.shape == (2, 2, 4, 4, 8)


def test_positions_of_learned_tables_are_a_limit() -> None:
    kinds = {"bert": 255, "roberta": 254}  # of 256, less the end and the padding's own
    for kind, limit in kinds.items():
        backbone = tiny_backbone(kind)
        assert backbone.max_positions == limit
        mask = int(backbone.tokenizer.mask_token_id)
        full = Encoded((1, mask, *[9] * (limit - 6)), (), Placement.at(1), mask=1)
        assert read(backbone, [full], InputTokens(drawn(4, 32))).isfinite().all()
        with pytest.raises(BackboneError, match="longer than the backbone's positions"):
            read(backbone, [full], InputTokens(drawn(5, 32)))
        read(backbone, [full], PrefixKV(drawn(2, 2, 4, 4, 8)))
        with pytest.raises(BackboneError, match="longer than the backbone's positions"):
            read(backbone, [full], PrefixKV(drawn(2, 2, 4, 5, 8)))


def test_an_encoder_without_a_head_gives_states_alone() -> None:
    whole = tiny_backbone("bert")
    bare = MaskedBackbone(tiny_model("bert").base_model, whole.tokenizer, "bare")
    batch = collate([(row, ()) for row in rows_on(whole)], read="next")
    injection = InputTokens(drawn(4, 32))
    pairs = [backbone.read_many([(batch, injection)])[0].states() for backbone in (whole, bare)]
    assert torch.equal(*pairs)
    with pytest.raises(BackboneError, match="says no words"):
        bare.forward(batch, injection)
    with pytest.raises(ConfigError, match="no masked-LM head"):
        predict(bare, MASKED_SPEC, reviews(2), injection)


def test_a_head_that_does_more_is_refused() -> None:
    model = tiny_model("bert")
    plain = model.cls.forward
    model.cls.forward = lambda hidden: plain(hidden) + len(hidden)
    backbone = MaskedBackbone(model, tiny_backbone("bert").tokenizer, "odd")
    with pytest.raises(BackboneError, match="more than say words"):
        read(backbone, rows_on(backbone))


def test_attention_of_its_own() -> None:
    backbone = tiny_backbone("deberta-v2")
    backbone.reset_counts()
    assert "DebertaV2Model" in (backbone.unsupported("prefix-kv") or "")
    with pytest.raises(ConfigError, match="cannot be used with this method"):
        check_supported(backbone, PTuningV2(length=3))
    assert not any(backbone.counts.values())
    with pytest.raises(BackboneError, match="takes no keys and values"):
        read(backbone, rows_on(backbone), PrefixKV(drawn(2, 2, 4, 3, 8)))
    states = backbone.states(backbone.embeddings[5:9])
    assert states.keys_values is None and states.hidden.shape == (2, 4, 32)


def small(config: Any) -> MaskedBackbone:
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(config).eval()
    tokenizer = tiny_tokenizer("<s> $A </s>", mask=True)
    return MaskedBackbone(model, tokenizer, type(config).__name__)


def test_narrow_embeddings() -> None:
    """ELECTRA's embeddings are narrower than its layers."""
    backbone = small(ElectraConfig(**SIZES, embedding_size=16))
    assert backbone.hidden_size == 16
    check_supported(backbone, PromptTuning(length=3))
    rows = rows_on(backbone)
    found = read(backbone, rows, InputTokens(drawn(3, 16)))
    assert not torch.equal(found, read(backbone, rows))
    with pytest.raises(ConfigError, match="cannot be used with this method"):
        check_supported(backbone, DeepPrompts(length=3))
    assert read(backbone, rows, PrefixKV(drawn(2, 2, 4, 3, 8))).shape == (5, 384)


def test_layers_that_are_one() -> None:
    """ALBERT's layers share their weights, and are one module that runs twice."""
    backbone = small(AlbertConfig(**SIZES, embedding_size=16))
    assert "cannot be found" in (backbone.unsupported("layer-tokens") or "")
    assert backbone.unsupported("prefix-kv") is None
    rows = rows_on(backbone)
    prefix = drawn(2, 2, 4, 3, 8)
    found = read(backbone, rows, PrefixKV(prefix))
    assert not torch.allclose(found, read(backbone, rows, PrefixKV(prefix.flip(0))))


def test_what_it_is_not_for() -> None:
    backbone = tiny_backbone("bert")
    with pytest.raises(BackboneError, match="does not generate"):
        backbone.generate([(5, 6)], [Placement()], None, 3)
    with pytest.raises(ConfigError, match="reads at masks"):
        predict(backbone, TEXT_SPEC, reviews(2))
    assert backbone.unsupported("input-tokens", "decoder") and backbone.unreadable("next-tokens")
    assert backbone.remember([(5, 6)]) is None and backbone.peft_task is None


@pytest.mark.parametrize("injection", [InputTokens(drawn(3, 31)), LayerTokens(drawn(3, 3, 32))])
def test_injections_of_other_sizes(injection: InputTokens | LayerTokens) -> None:
    backbone = tiny_backbone("bert")
    with pytest.raises(BackboneError, match="do not fit"):
        read(backbone, rows_on(backbone), injection)


def test_positions_begin_behind_the_paddings_own() -> None:
    """Also where the padding's number is not zero."""
    backbone = small(RobertaConfig(**SIZES | {"pad_token_id": 3}, max_position_embeddings=64))
    assert backbone.max_positions == 64 - 4 - 1
    rows = rows_on(backbone)
    together = read(backbone, rows, InputTokens(drawn(3, 32)))
    alone = torch.cat([read(backbone, [row], InputTokens(drawn(3, 32))) for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
