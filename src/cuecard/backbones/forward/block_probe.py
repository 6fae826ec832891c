"""Whether an encoder's layer is a `VitBlock`, told by what runs in it and by trying."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cuecard.backbones.forward.frozen import FrozenModel
from cuecard.backbones.forward.prefix_probe import REFUSALS, keeping
from cuecard.backbones.kernels.fused import does_the_same
from cuecard.backbones.kernels.vit_block import ACTIVATIONS, Activation, VitBlock

_ORDERS = 1e-5  # of the largest number: what another order of float32 sums does


@dataclass(frozen=True, slots=True)
class _Ran:
    """A module without parts, what it took in and what it gave."""

    module: nn.Module
    given: Tensor
    output: Tensor


def block_of(
    frozen: FrozenModel, layer: nn.Module, run: Callable[[Tensor], Tensor], like: Tensor
) -> VitBlock | None:
    """The layer, if its parts are a ViT's and a `VitBlock` of them does the same; else None.

    Args:
        run: the layer, by its own code.
        like: [1, S, H] what it may take in.
    """
    try:
        with _seeing(layer) as ran:
            wanted, running = keeping(frozen, lambda: run(like))
        ((keys, values),) = running.keys_values
    except REFUSALS:
        return None
    block = _block(layer, ran, keys, values)
    if block is None:
        return None
    off = _ORDERS if frozen.dtype == torch.float32 else 0.05
    try:
        found = block(like)
    except REFUSALS:
        return None
    same = found.shape == wanted.shape and (found - wanted).abs().max() <= off * wanted.abs().max()
    return block if bool(same) else None


def runs_plainly(layer: nn.Module) -> bool:
    """Whether no gradient of a weight is asked for, and nothing watches a layer or replaces it."""
    trains = torch.is_grad_enabled()
    return not any(
        module._forward_hooks
        or module._forward_pre_hooks
        or "forward" in vars(module)
        or (trains and any(p is not None and p.requires_grad for p in module._parameters.values()))
        for module in layer.modules()
    )


@contextmanager
def _seeing(layer: nn.Module) -> Iterator[list[_Ran]]:
    ran: list[_Ran] = []

    def see(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if inputs and isinstance(output, Tensor):
            ran.append(_Ran(module, inputs[0], output))

    parts = [module for module in layer.modules() if not any(module.children())]
    handles = [module.register_forward_hook(see) for module in parts]
    try:
        yield ran
    finally:
        for handle in handles:
            handle.remove()


def _block(layer: nn.Module, ran: list[_Ran], keys: Tensor, values: Tensor) -> VitBlock | None:
    """The parts in their roles, not yet tried; None where they are others than a ViT's."""
    norms = [one for one in ran if isinstance(one.module, nn.LayerNorm)]
    products = [one for one in ran if isinstance(one.module, nn.Linear)]
    if len(norms) != 2 or len(products) != 6:
        return None
    asked, (out, up, down) = products[:3], products[3:]
    key = [one for one in asked if _is(one.output, keys)]
    value = [one for one in asked if _is(one.output, values)]
    query = [one for one in asked if one not in key + value]
    between = [one for one in ran[ran.index(up) + 1 : ran.index(down)] if one.output is down.given]
    activation = _activation(between[0]) if between else None
    if not (len(key) == len(value) == len(query) == 1) or activation is None:
        return None
    known = [norms[0], norms[1], *products]
    used = {id(p) for one in known for p in one.module.parameters()}
    scales = tuple(p for p in layer.parameters() if id(p) not in used)
    if len(scales) not in (0, 2) or any(p.shape != up.given.shape[-1:] for p in scales):
        return None

    def part(one: _Ran) -> Any:
        return one.module

    return VitBlock(
        norm1=part(norms[0]),
        query=part(query[0]),
        key=part(key[0]),
        value=part(value[0]),
        out=part(out),
        norm2=part(norms[1]),
        up=part(up),
        down=part(down),
        heads=keys.shape[1],
        activation=activation,
        scales=(scales[0].detach(), scales[1].detach()) if scales else None,
    )


def _is(tokens: Tensor, heads: Tensor) -> bool:
    """Whether keys or values [1, h, T, D] are these [1, T, H]."""
    found = heads.transpose(1, 2).flatten(2)
    return found.shape == tokens.shape and torch.equal(found, tokens)


def _activation(ran: _Ran) -> Activation | None:
    for one in ACTIVATIONS:
        if does_the_same(ran.module, one.forward, ran.given):
            return one
    return None
