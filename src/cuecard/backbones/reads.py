"""What a forward pass leaves at the reads: logits, or hidden states that become logits in pieces.

Long targets times a large vocabulary are more than all the layers' activations: 8 rows of 128
targets over 128,000 words are 524 MB of logits in float32, and as much again for their gradient.
Then only the hidden states are kept, and a piece's logits live as long as its loss; the backward
pass makes them again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

# Logits of all reads, in float32, up to which they are made at once; and of one piece beyond that.
WHOLE_BYTES = 64 * 2**20
PIECE_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Reads:
    """The reads of one batch.

    Attributes:
        found: [N, V] logits, or [N, H] hidden states.
        tail: hidden states -> logits; None where `found` is logits.
        piece: how many reads have their logits at a time.
    """

    found: Tensor
    tail: Callable[[Tensor], Tensor] | None = None
    piece: int = 0

    def logits(self) -> Tensor:
        """[N, V] float32, all of them."""
        return (self.found if self.tail is None else self.tail(self.found)).float()

    def nll(self, targets: Tensor) -> Tensor:
        """[N] float32 -log p(target) of targets [N]; 0 where a target is -100."""
        targets = targets.to(self.found.device)
        if self.tail is None:
            return functional.cross_entropy(self.logits(), targets, reduction="none")
        pieces = (torch.split(tensor, self.piece) for tensor in (self.found, targets))
        pairs = zip(*pieces, strict=True)
        return torch.cat([self._piece(hidden, wanted) for hidden, wanted in pairs])

    def _piece(self, hidden: Tensor, targets: Tensor) -> Tensor:
        tail = self.tail
        assert tail is not None

        def loss(states: Tensor) -> Tensor:
            return functional.cross_entropy(tail(states).float(), targets, reduction="none")

        if not (torch.is_grad_enabled() and hidden.requires_grad):
            return loss(hidden)
        found: Tensor = checkpoint(loss, hidden, use_reentrant=False, preserve_rng_state=False)
        return found


class Tail:
    """What a model itself does behind its last layer: hidden states [N, H] -> logits [N, V].

    The model's own forward runs with its decoder standing aside, so that scales and soft caps
    behind the LM head stay the model's own business. Whether that works is for a trial to say.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._decoder = model, model.get_decoder()

    def __call__(self, hidden: Tensor) -> Tensor:
        """The logits."""
        given = BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden[None])
        before = vars(self._decoder).get("forward")
        self._decoder.__dict__["forward"] = lambda *args, **options: given
        try:
            logits: Tensor = self._model(inputs_embeds=hidden[None], use_cache=False).logits[0]
        finally:
            if before is None:
                del self._decoder.__dict__["forward"]
            else:
                self._decoder.__dict__["forward"] = before
        return logits
