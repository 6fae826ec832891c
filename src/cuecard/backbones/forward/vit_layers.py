"""An encoder's layers as `VitBlock`s, where all of them are: what nothing reads is not made.

Of a layer's output at vectors that the next layer replaces (VPT-Deep) nothing is read: they are
keys and values in front of the rows, made once for all rows of a prompt. Of the last layer's a
head on the class token reads that place alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from cuecard.backbones.forward.block_probe import block_of, runs_plainly
from cuecard.backbones.forward.frozen import FrozenModel
from cuecard.backbones.kernels.vit_block import VitBlock, for_rows


class VitLayers:
    """The layers, tried when it is made.

    Args:
        run: one of them by its own code, by its number.
        first: [1, S, H] what the first one may take in.
    """

    def __init__(
        self,
        frozen: FrozenModel,
        layers: Sequence[nn.Module],
        run: Callable[[int, Tensor], Tensor],
        first: Tensor,
    ) -> None:
        self._frozen, self._layers = frozen, layers
        self._blocks: list[VitBlock] = []
        # Elsewhere than on a CPU the model's own code is fast, and this was never measured.
        if frozen.device.type == "cpu":
            with frozen.uncounted():
                self._try(run, first)

    def usable(self) -> bool:
        """Whether the layers are such, and now as they were: nothing is trained in them."""
        return bool(self._blocks) and all(map(runs_plainly, self._layers))

    def __call__(
        self,
        hidden: Tensor,
        counts: Sequence[int],
        deep: Sequence[Tensor] = (),
        prefixes: Sequence[Tensor] = (),
        *,
        at: int = 0,
        read: int = 0,
    ) -> Tensor:
        """[B, S, H] -> [B, S, H], or [B, read, H] of the first places alone.

        With vectors of the first layers alone [B, S + P, H]: later layers take in what these made
        of them.

        Args:
            counts: how many rows each prompt has.
            deep: [L', P, H] of each prompt, what each of the first layers takes in beside the rows.
            prefixes: [L, 2, K, A, D] of each prompt, keys and values in front.
            at: how many places of a row come before these.
            read: 0 for all.
        """
        depth = len(deep[0]) if deep else 0
        self._frozen.counts["calls"] += 1
        self._frozen.counts["tokens"] += hidden.shape[0] * hidden.shape[1]
        self._frozen.counts["tokens"] += sum(vectors.shape[1] for vectors in deep)
        for number, block in enumerate(self._blocks):
            if deep and number + 1 == depth < len(self._blocks):
                # What this layer makes of its vectors is the next one's.
                own = for_rows([vectors[number] for vectors in deep], counts)
                hidden, deep = torch.cat([hidden[:, :at], own, hidden[:, at:]], 1), ()
            each = [prefix[number] for prefix in prefixes]
            each += [block.keys_values(vectors[number]) for vectors in deep]
            last = number + 1 == len(self._blocks)
            fronts = torch.stack(each) if each else None
            hidden = block(hidden, fronts, counts, read if last else 0)
        return hidden

    def _try(self, run: Callable[[int, Tensor], Tensor], hidden: Tensor) -> None:
        found = []
        for number, layer in enumerate(self._layers):
            own = partial(run, number)
            block = block_of(self._frozen, layer, own, hidden)
            if block is None:
                return
            found.append(block)
            hidden = own(hidden)
        self._blocks = found
