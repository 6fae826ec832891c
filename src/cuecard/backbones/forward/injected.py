"""An injection as a causal backbone runs it: checked, on its device, in its number type."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cuecard.errors import BackboneError
from cuecard.types import Injection, InputTokens, LayerTokens, PrefixKV


@dataclass(frozen=True, slots=True)
class Injected:
    """What goes where.

    Attributes:
        vectors: [P, H] among the embeddings; P may be 0.
        shifts: [S, H] added to the first tokens' embeddings; None for none.
        layers: [L, P, H] what stands at the vectors' places in each layer; None for what the layers
            make of them.
        prefix: [L, 2, K, P, D] keys and values in front of everything; None for none.
    """

    vectors: Tensor
    shifts: Tensor | None = None
    layers: Tensor | None = None
    prefix: Tensor | None = None

    @property
    def ahead(self) -> int:
        """Positions of the prefix."""
        return 0 if self.prefix is None else int(self.prefix.shape[3])


@dataclass(frozen=True, slots=True)
class Widths:
    """A model's sizes that injections must have: layers L, hidden size H, key heads K, size D."""

    layers: int
    hidden: int
    key_heads: int = 0
    key_size: int = 0


def injected(
    injection: Injection | None, widths: Widths, device: torch.device, dtype: torch.dtype, name: str
) -> Injected:
    """The injection's tensors.

    Args:
        name: of the backbone, for messages.

    Raises:
        BackboneError: an injection of other sizes than the model's.
    """
    hidden = widths.hidden

    def put(tensor: Tensor, what: str, shape: tuple[int | None, ...]) -> Tensor:
        fits = tensor.ndim == len(shape) and all(
            wanted in (None, found) for wanted, found in zip(shape, tensor.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise BackboneError(
                f"the prompt's {what} do not fit this backbone",
                where=name,
                got=f"shape {tuple(tensor.shape)}",
                expected=f"shape ({wanted})",
            )
        return tensor.to(device, dtype)

    if injection is None:
        return Injected(torch.zeros(0, hidden, device=device, dtype=dtype))
    if isinstance(injection, PrefixKV):
        sizes = widths.layers, 2, widths.key_heads, None, widths.key_size
        return Injected(
            torch.zeros(0, hidden, device=device, dtype=dtype),
            prefix=put(injection.keys_values, "keys and values", sizes),
        )
    if isinstance(injection, LayerTokens):
        layers = put(injection.vectors, "vectors", (widths.layers, None, hidden))
        return Injected(layers[0], layers=layers)
    assert isinstance(injection, InputTokens)
    if injection.decoder is not None:
        raise BackboneError(
            "this backbone has no decoder's input to put a prompt in front of",
            where=name,
            got=f"{len(injection.decoder)} decoder vectors",
            expected="an encoder-decoder, or a prompt of the input alone",
        )
    vectors = put(injection.vectors, "vectors", (None, hidden))
    if injection.shifts is None:
        return Injected(vectors)
    return Injected(vectors, put(injection.shifts, "shifts", (None, hidden)))
