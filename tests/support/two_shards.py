"""Backbones that are sharded among two processes, beside the same ones whole."""

from __future__ import annotations

from typing import Any

import torch

from cuecard.backbones import CausalBackbone
from cuecard.backbones.quantization.weights import own_part
from cuecard.tasks import collate
from cuecard.training.parallel.joining import Place, joined
from cuecard.training.parallel.ranks import Ranks
from cuecard.training.parallel.sharding import ShardedLayers
from cuecard.types import Encoded, InputTokens, LayerTokens, Placement, PrefixKV
from support.tiny import tiny_backbone, tiny_model, tiny_tokenizer

ROWS = [[10 + i, 11, *range(20, 20 + i)] for i in range(1, 9)]


def compared(kind: str, rank: int) -> dict[str, Any]:
    """How a model does that is sharded, beside the same one whole."""
    with joined(Place(rank, 2, rank, 2), "cpu", shards=True) as ranks:
        whole, parted = tiny_backbone(kind), sharded(kind, ranks)
        found: dict[str, Any] = {"passes": [], "bytes": _bytes(whole, parted)}
        found["fused"] = [_fused(each) for each in (whole, parted)]
        # Not the same work in both processes, and other work at other times.
        for number in range(1 + 2 * rank):
            rows = ROWS[number : number + 1 + 3 * rank]
            whole.recompute = parted.recompute = bool(number % 2)
            ours, theirs = _passes(parted, rows), _passes(whole, rows)
            found["passes"] += [_same(*each) for each in zip(ours, theirs, strict=True)]
        ranks.sums([rank])
        if rank == 0:  # alone, while the other waits for what comes after it
            found["generated"] = _written(parted) == _written(whole)
            found["states"] = torch.equal(_states(parted), _states(whole))
            found["again"] = _same(*(_passes(each, ROWS)[0] for each in (parted, whole)))
        ranks.sums([rank])
        found["digest"] = parted.digest() == parted.digest() != whole.digest()
        return found


def sharded(kind: str, ranks: Ranks) -> CausalBackbone:
    """A tiny backbone whose layers are sharded."""
    model = tiny_model(kind)
    ShardedLayers(ranks).place(model, torch.device("cpu"))
    return CausalBackbone(model, tiny_tokenizer(), f"tiny-{kind}")


def _bytes(whole: Any, parted: Any) -> list[int]:
    """What the layers take whole, and in this process."""
    layers = [each._frozen.decoder_layers for each in (whole, parted)]
    held = [[own_part(p).nbytes for one in each for p in one.parameters()] for each in layers]
    return [sum(held[0]), sum(held[1])]


def _fused(backbone: Any) -> int:
    """How many modules run as functions of ours."""
    return len(backbone._packed._fused)


def _passes(backbone: Any, rows: list[list[int]]) -> list[list[torch.Tensor]]:
    """The logits and the gradient of each kind of prompt."""
    generator = torch.Generator().manual_seed(0)
    heads, size = backbone.key_shape
    shapes: dict[Any, tuple[int, ...]] = {
        InputTokens: (3, 32),
        PrefixKV: (2, 2, heads, 3, size),
        LayerTokens: (2, 3, 32),
    }
    found = []
    for make, shape in shapes.items():
        numbers = torch.randn(shape, generator=generator).requires_grad_()
        batch = collate([(Encoded(tuple(r), (), Placement.at(0)), ()) for r in rows], read="next")
        logits = backbone.forward(batch, make(numbers))
        logits.square().sum().backward()
        assert numbers.grad is not None
        found.append([logits.detach(), numbers.grad])
    return found


def _same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return all(torch.equal(*each) for each in zip(ours, theirs, strict=True))


def _written(backbone: Any) -> Any:
    prompt = InputTokens(torch.ones(2, 32))
    return backbone.generate(ROWS[:2], [Placement.at(0)] * 2, prompt, 3)


def _states(backbone: Any) -> torch.Tensor:
    ids = torch.tensor(ROWS[-1:])
    found: torch.Tensor = backbone.early_states(1, ids, torch.ones_like(ids))
    return found
