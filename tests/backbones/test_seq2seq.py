"""Encoder-decoders against plain transformers, row by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import T5Config, T5ForConditionalGeneration

from cuecard.backbones import Seq2SeqBackbone
from cuecard.errors import BackboneError
from cuecard.tasks import collate
from cuecard.types import (
    Encoded,
    Injection,
    InputTokens,
    LayerTokens,
    Placement,
    PrefixKV,
    Towers,
    by_tower,
)
from support.oracles.seq2seq import ENDS, OPENINGS, encoder_embeds, plain_logits
from support.tiny import SEQ2SEQ, tiny_backbone, tiny_model, tiny_tokenizer

CONTEXTS = [tuple(range(10, 10 + length)) for length in (3, 11, 7, 11)]
TARGETS = [(40, 41, 2), (50, 2), (60, 61, 62, 63, 2), (70, 2)]


def prompt(length: int, decoder: int = 0, width: int = 32) -> Injection:
    generator = torch.Generator().manual_seed(5)
    vectors, front = (torch.randn(n, width, generator=generator) * 0.3 for n in (length, decoder))
    return into(vectors, front) if decoder else InputTokens(vectors)


def leaf(piece: Injection) -> InputTokens:
    assert isinstance(piece, InputTokens)
    return InputTokens(piece.vectors.clone().requires_grad_())


def into(
    encoder: torch.Tensor, decoder: torch.Tensor, shifts: torch.Tensor | None = None
) -> Towers:
    return Towers({"text": InputTokens(encoder, shifts), "decoder": InputTokens(decoder)})


def shifted() -> Injection:
    (encoder, decoder), shifts = by_tower(prompt(5, 3)).values(), prompt(6)
    return into(leaf(encoder).vectors, leaf(decoder).vectors, leaf(shifts).vectors)


PROMPTS = {
    "none": prompt(0),
    "encoder": prompt(5),
    "decoder": prompt(0, 4),
    "both": prompt(5, 3),
    "shifted": shifted(),
}


def rows(slot: str = "prefix") -> list[Encoded]:
    at = [0 if slot == "prefix" else len(context) for context in CONTEXTS]
    places = map(Placement.at, at)
    return [Encoded(*row) for row in zip(CONTEXTS, TARGETS, places, strict=True)]


def exact_backbone(kind: str) -> Seq2SeqBackbone:
    """The same weights in float64, where only a wrong formula is seen."""
    return Seq2SeqBackbone(tiny_model(kind).double(), tiny_backbone(kind).tokenizer, kind)


def next_batch(slot: str = "prefix") -> Any:
    return collate([(row, ()) for row in rows(slot)], read="next")


@pytest.mark.parametrize("kind", SEQ2SEQ)
@pytest.mark.parametrize("slot", ["prefix", "suffix"])
@pytest.mark.parametrize("where", PROMPTS)
def test_logits_of_long_targets_are_the_plain_ones(kind: str, slot: str, where: str) -> None:
    backbone, injection = exact_backbone(kind), PROMPTS[where]
    model, batch = backbone.model, collate([(row, row.target) for row in rows(slot)])
    with torch.no_grad():
        ours = backbone.forward(batch, injection)
        plain = [plain_logits(model, kind, row, injection, row.target) for row in rows(slot)]
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, torch.cat(plain).float(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", SEQ2SEQ)
def test_without_a_prompt_it_is_the_model_on_token_ids(kind: str) -> None:
    backbone = tiny_backbone(kind)
    with torch.no_grad():
        ours = backbone.forward(next_batch(), None)
        for row, logits in zip(rows(), ours, strict=True):
            plain = backbone.model(
                input_ids=torch.tensor([[*row.context, *ENDS]]),
                decoder_input_ids=torch.tensor([OPENINGS[kind]]),
            ).logits[0, -1]
            torch.testing.assert_close(logits, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", SEQ2SEQ)
@pytest.mark.parametrize("where", ["encoder", "decoder", "both"])
def test_loss_and_gradients_are_the_plain_ones_in_float64(kind: str, where: str) -> None:
    backbone = exact_backbone(kind)
    found = []
    for kinds in ("ours", "plain"):
        given = PROMPTS[where]
        pieces = {tower: leaf(piece) for tower, piece in by_tower(given).items()}
        injection = Towers(pieces)
        batch = collate([(row, row.target) for row in rows()])
        if kinds == "ours":
            logits = backbone.forward(batch, injection)
        else:
            model = backbone.model
            parts = [plain_logits(model, kind, row, injection, row.target) for row in rows()]
            logits = torch.cat(parts).float()
        loss = cross_entropy(logits, batch.target_ids)
        loss.backward()  # type: ignore[no-untyped-call]
        leaves = [piece.vectors.grad for piece in pieces.values() if piece.length]
        found.append((loss.detach(), [grad for grad in leaves if grad is not None]))
    ours, plain = found
    torch.testing.assert_close(ours[0], plain[0], atol=1e-6, rtol=1e-6)
    assert len(ours[1]) == (2 if where == "both" else 1)
    for mine, theirs in zip(ours[1], plain[1], strict=True):
        assert float(theirs.abs().max()) > 1e-4
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", SEQ2SEQ)
@pytest.mark.parametrize("slot", ["prefix", "suffix"])
def test_generation_is_the_models_own(kind: str, slot: str) -> None:
    backbone, injection = tiny_backbone(kind), PROMPTS["encoder"]
    ours = backbone.generate(
        [row.context for row in rows(slot)], [row.placement for row in rows(slot)], injection, 9
    )
    for row, found in zip(rows(slot), ours, strict=True):
        embeds = encoder_embeds(backbone.model, row, injection)
        theirs = backbone.model.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2]),
            max_new_tokens=9 + len(OPENINGS[kind]) - 1,
            do_sample=False,
            use_cache=False,  # theirs counts the encoder's layers where the decoder has more
        )[0, len(OPENINGS[kind]) :].tolist()
        assert found == (theirs[: theirs.index(2)] if 2 in theirs else theirs)


@pytest.mark.parametrize("kind", SEQ2SEQ)
def test_generation_behind_a_decoder_prompt_is_the_plain_argmax(kind: str) -> None:
    backbone, injection = tiny_backbone(kind), PROMPTS["both"]
    ours = backbone.generate(CONTEXTS, [Placement()] * len(CONTEXTS), injection, 6)
    assert any(ours)
    for row, found in zip(rows(), ours, strict=True):
        answer: list[int] = []
        while len(answer) < 6:
            with torch.no_grad():
                logits = plain_logits(backbone.model, kind, row, injection, [*answer, 0])
            token = int(logits[-1].argmax())
            if token == 2:
                break
            answer.append(token)
        assert found == answer


def test_the_encoder_runs_once_while_tokens_are_generated() -> None:
    backbone = tiny_backbone("t5-gated")
    tokens = 5 + 11 + len(ENDS)
    assert backbone.generate(CONTEXTS[1:2], [Placement()], PROMPTS["both"], 4, stop_ids=(999,)) != [
        []
    ]
    # The decoder's prompt and start token together, then one token at a time.
    assert backbone.counts["tokens"] == tokens + (3 + 1) + 3
    assert backbone.counts["calls"] == 1 + 4


def test_stop_ids_end_a_row() -> None:
    backbone = tiny_backbone("bart")
    free = backbone.generate(CONTEXTS, [Placement()] * 4, PROMPTS["encoder"], 8)
    stop = free[0][3]
    cut = backbone.generate(CONTEXTS, [Placement()] * 4, PROMPTS["encoder"], 8, stop_ids=(stop,))
    assert cut[0] == free[0][: free[0].index(stop)]


def test_equal_inputs_run_once_and_logits_are_computed_where_they_are_read() -> None:
    backbone = tiny_backbone("t5-relu")
    row = rows()[1]
    words = [(40, 41), (42,), (43, 44, 45)]
    logits = backbone.forward(collate([(row, word) for word in words]), PROMPTS["encoder"])
    encoder, decoder = 5 + 11 + len(ENDS), 3 * (1 + 2)
    assert logits.shape == (6, 384)
    assert backbone.counts == {
        "calls": 2,
        "tokens": encoder + decoder,
        "logits": 6,
        "remembered": 0,
    }


def test_equal_inputs_with_prompts_in_other_places_are_not_equal() -> None:
    backbone = tiny_backbone("bart")
    filler = backbone._fill.prompt
    pair = [Encoded((filler, filler, filler), (), Placement.at(slot)) for slot in (0, 3)]
    together = backbone.forward(collate([(r, ()) for r in pair], read="next"), PROMPTS["encoder"])
    alone = [backbone.forward(collate([(r, ())], read="next"), PROMPTS["encoder"])[0] for r in pair]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(alone[0], alone[1], atol=1e-2)


@pytest.mark.parametrize("kind", SEQ2SEQ)
def test_padding_on_either_side_does_not_matter(kind: str) -> None:
    backbone, batch = tiny_backbone(kind), collate([(row, row.target) for row in rows()])
    with torch.no_grad():
        plain = backbone.forward(batch, PROMPTS["both"])
        wide, width = batch.input_ids.shape[1] + 4, batch.attention_mask.sum(1)
        for side in ("left", "right"):
            ids, mask = torch.full((4, wide), 9), torch.zeros(4, wide, dtype=torch.long)
            for row in range(4):
                length = int(width[row])
                place = slice(wide - length, None) if side == "left" else slice(length)
                ids[row, place] = batch.input_ids[row, :length]
                mask[row, place] = 1
            padded = backbone.forward(
                replace(batch, input_ids=ids, attention_mask=mask), PROMPTS["both"]
            )
            torch.testing.assert_close(padded, plain, atol=1e-5, rtol=1e-5)


def test_reads_inside_the_input_are_refused() -> None:
    batch = next_batch()
    with pytest.raises(BackboneError, match="inside its input"):
        tiny_backbone("bart").forward(replace(batch, read_at=batch.read_at - 1), None)


def test_vectors_of_another_width_are_refused() -> None:
    backbone = tiny_backbone("t5-relu")
    for wrong in (
        InputTokens(torch.zeros(2, 8)),
        into(torch.zeros(2, 32), torch.zeros(3)),
    ):
        with pytest.raises(BackboneError, match="do not fit"):
            backbone.forward(next_batch(), wrong)


def test_what_is_too_long_is_refused() -> None:
    backbone = tiny_backbone("bart")
    with pytest.raises(BackboneError, match="input with its prompt"):
        backbone.forward(next_batch(), prompt(250))
    with pytest.raises(BackboneError, match="answer with its prompt"):
        backbone.generate(CONTEXTS, [Placement()] * 4, prompt(0, 250), 20)


def test_a_decoder_without_a_beginning_is_refused() -> None:
    model = T5ForConditionalGeneration(
        T5Config(vocab_size=384, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )
    with pytest.raises(BackboneError, match="decoder begins with"):
        Seq2SeqBackbone(model, tiny_tokenizer("$A </s>"), "t5")


def test_a_causal_model_is_refused() -> None:
    with pytest.raises(BackboneError, match="not an encoder-decoder"):
        Seq2SeqBackbone(tiny_model("llama"), tiny_tokenizer(), "llama")


def test_a_tokenizers_begin_token_opens_the_decoder_where_none_is_forced() -> None:
    model = tiny_model("bart")
    model.generation_config.forced_bos_token_id = None
    bart = Seq2SeqBackbone(model, tiny_tokenizer("<s> $A </s>"), "bart")
    given = bart.forward(next_batch(), None)
    torch.testing.assert_close(given, tiny_backbone("bart").forward(next_batch(), None))


def test_nothing_trains_and_nothing_changes() -> None:
    backbone = tiny_backbone("t5-gated")
    before = backbone.digest()
    assert not backbone.model.training
    assert not any(p.requires_grad for p in backbone.model.parameters())
    backbone.forward(next_batch(), PROMPTS["both"])
    backbone.generate(CONTEXTS, [Placement()] * 4, PROMPTS["both"], 3)
    assert backbone.digest() == before


@pytest.mark.parametrize("kind", ["t5-gated", "bart"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_remembered_inputs_serve_decoder_prompts(kind: str, on_disk: bool, tmp_path: Path) -> None:
    backbone = tiny_backbone(kind)
    file = tmp_path / "inputs.bin" if on_disk else None
    batch = collate([(row, row.target) for row in rows()])
    expected = backbone.forward(batch, PROMPTS["decoder"])
    cache = backbone.remember(CONTEXTS, file)
    assert cache is not None and cache.tokens == sum(len(c) + len(ENDS) for c in set(CONTEXTS))
    for _ in range(2):
        found = backbone.forward(batch, PROMPTS["decoder"])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    backbone.reset_counts()
    backbone.forward(batch, PROMPTS["decoder"])
    # 4 decoder vectors, the opening, and all of the target but its last token, padded.
    assert backbone.counts["calls"] == 1
    assert backbone.counts["tokens"] == 4 * (4 + len(OPENINGS[kind]) + 4)
    assert backbone.counts["remembered"] == sum(len(c) + len(ENDS) for c in CONTEXTS)
    assert backbone.remember(CONTEXTS, file) is cache
    backbone.forward(batch, PROMPTS["encoder"])
    assert backbone.counts["calls"] == 3, "a prompt in the encoder runs it"
    assert backbone.remember(()) is None


def test_parts_are_run_one_by_one() -> None:
    backbone = tiny_backbone("t5-relu")
    parts = [(next_batch(), PROMPTS["encoder"]), (next_batch(), None)]
    found = backbone.forward_many(parts)
    for (batch, injection), logits in zip(parts, found, strict=True):
        torch.testing.assert_close(logits, backbone.forward(batch, injection))


@pytest.mark.parametrize(
    "injection", [PrefixKV(torch.zeros(2, 2, 4, 3, 8)), LayerTokens(torch.zeros(2, 3, 32))]
)
def test_what_only_causal_models_take_is_refused(injection: Injection) -> None:
    backbone = tiny_backbone("t5-relu")
    for need in ("prefix-kv", "layer-tokens"):
        assert backbone.unsupported(need) == f"an encoder-decoder does not take {need}"
    with pytest.raises(BackboneError, match="takes no such prompt"):
        backbone.forward(next_batch(), injection)
    with pytest.raises(BackboneError, match="no single stack of layers"):
        backbone.states(backbone.embeddings[:2])
    assert backbone.counts["calls"] == 0


def test_bfloat16_takes_float32_prompts_and_gives_them_gradients() -> None:
    model = tiny_model("t5-gated").to(torch.bfloat16)
    backbone = Seq2SeqBackbone(model, tiny_tokenizer("$A </s>"), "t5")
    vectors = torch.randn(3, 32, requires_grad=True)
    logits = backbone.forward(next_batch(), InputTokens(vectors))
    assert logits.dtype == torch.float32
    logits.logsumexp(-1).sum().backward()
    assert vectors.grad is not None and float(vectors.grad.abs().max()) > 0
