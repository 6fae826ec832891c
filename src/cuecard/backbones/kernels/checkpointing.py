"""Activation checkpointing: a layer keeps only its input and is recomputed in the backward pass.

Chen et al. (2016, arXiv:1604.06174, section 3), a segment per layer. transformers' own switch drops
the cache, through which padded rows see what they share, and knows nothing of a packed sequence.
Here the layer runs again with the cache as it found it, and with all the rest as the caller's
`again` brings it back. Gradients are the same bits: the same operations run on the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import Cache

from cuecard.errors import BackboneError

Again = Callable[[int], AbstractContextManager[Any]]


def decoder_layers(model: nn.Module, count: int) -> list[nn.Module]:
    """The model's list of `count` layers: the one with most in it, if several are as long.

    Raises:
        BackboneError: there is none.
    """
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not lists:
        raise BackboneError(
            "this model's layers cannot be found, so they cannot be run again",
            where=type(model).__name__,
            got=f"no list of {count} modules",
            hint="activations: keep",
        )
    sizes = [len(list(found.modules())) for found in lists]
    return list(lists[sizes.index(max(sizes))])


@contextmanager
def recomputing(layers: list[nn.Module], again: Again) -> Iterator[None]:
    """Let layers keep their inputs alone in the calls that follow; they are as they were after.

    Args:
        again: a layer's place -> what must surround its second run, in the backward pass.
    """
    before = [vars(layer).get("forward") for layer in layers]
    for place, layer in enumerate(layers):
        layer.__dict__["forward"] = _keeping_its_input(layer.forward, place, again)
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            if forward is None:
                del layer.__dict__["forward"]
            else:
                layer.__dict__["forward"] = forward


class _Anew:
    """A context that can be entered again: a kept graph is gone back through more than once."""

    def __init__(self, again: Again, place: int) -> None:
        self._again, self._place = again, place

    def __enter__(self) -> None:
        self._now = self._again(self._place)
        self._now.__enter__()

    def __exit__(self, *error: Any) -> bool | None:
        return self._now.__exit__(*error)


def _keeping_its_input(forward: Callable[..., Any], place: int, again: Again) -> Callable[..., Any]:
    def run(*args: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **options)
        # The first run fills the caller's cache; what is kept for the second one is how it was.
        first = [(args, options)]
        kept = _with_caches(args, options, place)

        def layer(_: Tensor) -> Any:
            here, named = first.pop() if first else _with_caches(*kept, place)
            return forward(*here, **named)

        some = next(x for x in (*args, *options.values()) if isinstance(x, Tensor))
        return checkpoint(
            layer,
            some,
            use_reentrant=False,
            preserve_rng_state=False,  # a frozen model draws nothing
            context_fn=lambda: (nullcontext(), _Anew(again, place)),
        )

    return run


def _with_caches(
    args: tuple[Any, ...], options: dict[str, Any], place: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same arguments, with copies of caches that hold one layer's keys and values alone."""

    def copied(value: Any) -> Any:
        if not isinstance(value, Cache):
            return value
        twin = copy(value)
        twin.layers = [copy(x) if i == place else None for i, x in enumerate(value.layers)]
        return twin

    return tuple(map(copied, args)), {name: copied(value) for name, value in options.items()}
