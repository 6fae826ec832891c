"""Rows of any prompts in one pass: each gets what it gets alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cuecard.backbones.forward.ragged import LayerVectors, PrefillChunk, RaggedRun
from cuecard.backbones.kernels.decoding import Block
from cuecard.tasks import collate
from cuecard.types import Encoded, Injection, InputTokens, LayerTokens, PrefixKV
from support.tiny import CONFIGS, tiny_backbone

PACKED = [kind for kind in CONFIGS if kind != "bloom-alibi"]
TEXTS = ("one of the best films of the year", "a gob of drivel", "it is good and not bad : " * 4)


def ragged(backbone: Any) -> RaggedRun:
    found = backbone.ragged
    assert isinstance(found, RaggedRun)
    return found


def ids_of(backbone: Any, text: str) -> tuple[int, ...]:
    return tuple(backbone.tokenizer.encode(text, add_special_tokens=False))


def vectors(seed: int, length: int) -> Tensor:
    return torch.randn(length, 32, generator=torch.Generator().manual_seed(seed))


def alone(backbone: Any, ids: tuple[int, ...], injection: Injection | None) -> Tensor:
    """[1, V] the logits behind a row."""
    batch = collate([(Encoded(ids, ()), ())], read="next")
    with torch.no_grad():
        found: Tensor = backbone.forward(batch, injection)
    return found


@pytest.mark.parametrize("kind", PACKED)
def test_behind_kept_keys_and_values_as_behind_the_prompt(kind: str) -> None:
    backbone = tiny_backbone(kind)
    run = ragged(backbone)
    prompts = [InputTokens(vectors(1, 20)), InputTokens(vectors(2, 3)), None]
    given = [backbone.tensors(prompt) for prompt in prompts]
    first = run.run([], [PrefillChunk(of.vectors) for of in given[:2]], keep=True)
    kept = [(first.keys_values(0, 0, 20),), (first.keys_values(1, 0, 3),), ()]
    rows = [ids_of(backbone, text) for text in TEXTS]
    chunks = [
        PrefillChunk(run.embed(ids, of), past, (len(ids) - 1,))
        for ids, of, past in zip(rows, given, kept, strict=True)
    ]
    found = run.run([], chunks, keep=False).read
    for logits, ids, prompt in zip(found, rows, prompts, strict=True):
        torch.testing.assert_close(logits, alone(backbone, ids, prompt), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", PACKED)
def test_chunks_and_decoded_tokens_as_one_run(kind: str) -> None:
    """A row in three pieces, then five tokens more from a block, beside another row."""
    backbone = tiny_backbone(kind)
    run, given = ragged(backbone), backbone.tensors(None)
    ids = ids_of(backbone, TEXTS[2])
    pieces: tuple[Tensor, ...] = ()
    for start in range(0, len(ids), 9):
        embeds = run.embed(ids[start : start + 9], given)
        ran = run.run([], [PrefillChunk(embeds, pieces, (len(embeds) - 1,))], keep=True)
        pieces = (*pieces, ran.keys_values(0, 0, len(embeds)))
    torch.testing.assert_close(ran.read[0], alone(backbone, ids, None), atol=1e-4, rtol=1e-5)
    block = run.block(4, 64)
    assert block.join(pieces) == 0
    other = ids_of(backbone, TEXTS[1])
    first = run.run([], [PrefillChunk(run.embed(other, given))], keep=True)
    assert block.join([first.keys_values(0, 0, len(other))]) == 1
    written = [list(ids), list(other)]
    for step in range(5):
        tokens = [7 + step, 90 + step]
        decoded = run.run([(block, run.embed(tokens, given))], [], keep=False).decoded[0]
        for row, logits in zip(written, decoded, strict=True):
            row.append(tokens[written.index(row)])
            expected = alone(backbone, tuple(row), None)
            torch.testing.assert_close(logits[None], expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", PACKED)
def test_continuations_do_not_see_each_other(kind: str) -> None:
    backbone = tiny_backbone(kind)
    run, given = ragged(backbone), backbone.tensors(None)
    ids, words = ids_of(backbone, TEXTS[0]), ((5, 6, 7), (9,), (5, 11, 12, 13))
    flat = [*ids, *(token for word in words for token in word)]
    reads = tuple(range(len(ids) - 1, len(flat)))
    chunk = PrefillChunk(run.embed(flat, given), (), reads, tuple(map(len, words)))
    short = ids_of(backbone, TEXTS[1])
    beside = PrefillChunk(run.embed(short, given), (), (len(short) - 1,))
    found, other = run.run([], [chunk, beside], keep=False).read
    expected = [alone(backbone, ids, None)]
    for word in words:
        expected += [alone(backbone, ids + word[: n + 1], None) for n in range(len(word))]
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(other, alone(backbone, short, None), atol=1e-4, rtol=1e-5)


def test_layers_vectors_wherever_a_chunk_ends() -> None:
    backbone = tiny_backbone()
    run = ragged(backbone)
    layers = torch.stack([vectors(seed, 6) for seed in range(2)])
    prompt = LayerTokens(layers)
    ids = ids_of(backbone, TEXTS[0])
    first = run.run(
        [], [PrefillChunk(layers[0, :4], layer_vectors=LayerVectors(layers[:, :4], 0))], keep=True
    )
    rest = torch.cat([layers[0, 4:], run.embed(ids, backbone.tensors(None))])
    past = (first.keys_values(0, 0, 4),)
    last = (len(rest) - 1,)
    plain = PrefillChunk(run.embed(ids, backbone.tensors(None)), (), (len(ids) - 1,))
    chunk = PrefillChunk(rest, past, last, layer_vectors=LayerVectors(layers[:, 4:], 0))
    bare, found = run.run([], [plain, chunk], keep=False).read
    torch.testing.assert_close(found, alone(backbone, ids, prompt), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(bare, alone(backbone, ids, None), atol=1e-4, rtol=1e-5)


def test_a_prefix_of_keys_and_values_is_a_past() -> None:
    backbone = tiny_backbone()
    run = ragged(backbone)
    prompt = PrefixKV(torch.randn(2, 2, 2, 5, 8, generator=torch.Generator().manual_seed(4)))
    ids = ids_of(backbone, TEXTS[0])
    given = backbone.tensors(prompt)
    assert given.prefix is not None
    chunk = PrefillChunk(run.embed(ids, given), (given.prefix,), (len(ids) - 1,))
    (found,) = run.run([], [chunk], keep=False).read
    torch.testing.assert_close(found, alone(backbone, ids, prompt), atol=1e-4, rtol=1e-5)


def test_shifts_go_by_the_place_in_the_row() -> None:
    backbone = tiny_backbone()
    run = ragged(backbone)
    given = backbone.tensors(InputTokens(vectors(0, 2), vectors(1, 5)))
    whole = run.embed((4, 5, 6, 7, 8, 9, 10), given)
    pieces = [run.embed((4, 5, 6), given), run.embed((7, 8, 9, 10), given, 3)]
    assert torch.equal(whole, torch.cat(pieces))
    assert not torch.equal(whole[:5], run.embed((4, 5, 6, 7, 8), backbone.tensors(None)))
    assert torch.equal(whole[5:], run.embed((9, 10), backbone.tensors(None)))


def test_one_rows_infinity_stays_its_own() -> None:
    backbone = tiny_backbone()
    run, given = ragged(backbone), backbone.tensors(None)
    rows = [ids_of(backbone, text) for text in TEXTS]
    spoilt = torch.full((4, 32), torch.nan)
    chunks = [PrefillChunk(spoilt, (), (3,))]
    chunks += [PrefillChunk(run.embed(ids, given), (), (len(ids) - 1,)) for ids in rows]
    ran = run.run([], chunks, keep=True)
    assert not bool(torch.isfinite(ran.read[0]).any())
    for found, ids in zip(ran.read[1:], rows, strict=True):
        torch.testing.assert_close(found, alone(backbone, ids, None), atol=1e-4, rtol=1e-5)
    # What it left in memory is not the next pass's either.
    again = run.run([], chunks[1:], keep=False)
    for found, ids in zip(again.read, rows, strict=True):
        torch.testing.assert_close(found, alone(backbone, ids, None), atol=1e-4, rtol=1e-5)
    block = run.block(2, 64)
    for number in (0, 1):
        length = len(chunks[number].embeds)
        block.join([ran.keys_values(number, 0, length)])
    row = run.run([(block, run.embed((3, 3), given))], [], keep=False).decoded[0][1:]
    torch.testing.assert_close(row, alone(backbone, (*rows[0], 3), None), atol=1e-4, rtol=1e-5)


def test_rows_that_leave_take_their_keys_with_them() -> None:
    block = Block(ragged(tiny_backbone()).shape, 3, 8, torch.device("cpu"))
    pieces = [torch.full((2, 2, 2, length, 8), float(length)) for length in (2, 5, 3)]
    assert [block.join([piece]) for piece in pieces] == [0, 1, 2]
    assert block.full
    assert block.leave(1) == 2  # the last row stands in its stead
    assert block.lengths.tolist() == [2, 3, 0]
    assert torch.equal(block.values[:, :, 1, :, :3], pieces[2])
    assert not bool(block.values[:, :, 1, :, 3:].any() or block.values[:, :, 2].any())
    assert block.leave(1) is None
    assert block.leave(0) is None
    assert not bool(block.values.any())


def test_a_block_grows_with_its_longest_row() -> None:
    block = Block(ragged(tiny_backbone()).shape, 3, 64, torch.device("cpu"))
    pieces = [torch.randn(2, 2, 2, length, 8) for length in (5, 15, 30)]
    block.join(pieces[:1])
    block.join(pieces[1:2])
    assert block.values.shape[4] == 16
    block.step()
    block.grown()
    assert block.lengths.tolist() == [6, 16, 0]
    block.values[:, :, :, :, 15] = 7.0
    block.step()  # the second row's next token is its seventeenth
    assert block.values.shape[4] == 32
    block.join([pieces[2], torch.ones(2, 2, 2, 34, 8)])
    assert block.values.shape[4] == 64
    block.leave(0)
    for row, piece in ((0, torch.cat([pieces[2], torch.ones(2, 2, 2, 34, 8)], 3)), (1, pieces[1])):
        assert torch.equal(block.values[:, :, row, :, : piece.shape[3]], piece)
    assert bool((block.values[:, :, 1, :, 15] == 7).all())
    assert not bool(block.values[:, :, 1, :, 16:].any() or block.values[:, :, 2].any())
