"""An injection's tensors for one stack of layers: checked, on its device, in its dtype."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cuecard.errors import BackboneError
from cuecard.types import LabelTokens, LayerTokens, PrefixKV, PromptMix, TowerInjection


@dataclass(frozen=True, slots=True)
class Injected:
    """What goes where.

    Attributes:
        vectors: [P, H] among the embeddings; P may be 0.
        shifts: [S, H] added to the first tokens' embeddings; None for none.
        layers: [L, P, H] what stands at the vectors' places in each layer; None for what the layers
            make of them.
        prefix: [L, 2, K, P, D] keys and values in front of everything; None for none.
        late: whether those are seen from each row's slot on alone.
        mix: what each row's context adds to the vectors; None for nothing.
        each: [B, P, H] every row's own vectors, in place of `vectors`; None where all have these.
    """

    vectors: Tensor
    shifts: Tensor | None = None
    layers: Tensor | None = None
    prefix: Tensor | None = None
    late: bool = False
    mix: PromptMix | None = None
    each: Tensor | None = None

    def mixed(self, embeds: Tensor, mask: Tensor) -> Injected:
        """The same with every row's own vectors, where they depend on the row.

        Args:
            embeds: [B, T, H] the embeddings of the rows' tokens.
            mask: [B, T] which of them are a row's context.
        """
        if self.mix is None:
            return self
        found = self.mix.over(self.vectors, embeds, mask)
        return replace(self, each=found.to(self.vectors.dtype))

    @property
    def leaves_front(self) -> bool:
        """Whether there is a prompt, and what stands before its place is as without it."""
        return self.shifts is None and (len(self.vectors) > 0 or self.late)

    @property
    def is_nothing(self) -> bool:
        """Whether there is no prompt."""
        return self.shifts is None and self.prefix is None and not len(self.vectors)

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
    piece: TowerInjection | None,
    widths: Widths,
    device: torch.device,
    dtype: torch.dtype,
    name: str,
) -> Injected:
    """The tensors of what goes into the text tower.

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

    if piece is None:
        return Injected(torch.zeros(0, hidden, device=device, dtype=dtype))
    if isinstance(piece, PrefixKV):
        sizes = widths.layers, 2, widths.key_heads, None, widths.key_size
        return Injected(
            torch.zeros(0, hidden, device=device, dtype=dtype),
            prefix=put(piece.keys_values, "keys and values", sizes),
            late=piece.late,
        )
    if isinstance(piece, LayerTokens):
        layers = put(piece.vectors, "vectors", (widths.layers, None, hidden))
        return Injected(layers[0], layers=layers)
    if isinstance(piece, LabelTokens):
        raise BackboneError(
            "vectors around labels' names go into the tower that reads these",
            where=name,
            got="label-tokens",
            expected="vectors, keys and values or layers' vectors",
        )
    vectors = put(piece.vectors, "vectors", (None, hidden))
    mix = None if piece.mix is None else piece.mix.to(device)
    if mix is not None:
        put(mix.sources, "source prompts", (None, len(vectors), hidden))
    if piece.shifts is None:
        return Injected(vectors, mix=mix)
    return Injected(vectors, put(piece.shifts, "shifts", (None, hidden)), mix=mix)
