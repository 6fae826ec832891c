"""The output of a forward pass at its reads: logits, or hidden states projected in chunks.

Long targets times a large vocabulary are more than all the layers' activations: 8 rows of 128
targets over 128,000 words are 524 MB of logits in float32, and as much again for their gradient.
Then only the hidden states are kept, and a piece's logits live as long as its loss; the backward
pass makes them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from cuecard.errors import BackboneError

# Logits of all reads, in float32, up to which they are made at once; and of one piece beyond that.
WHOLE_BYTES = 64 * 2**20
PIECE_BYTES = 16 * 2**20


def no_states(name: str, model: Any) -> BackboneError:
    """What to raise for a model that cannot be parted before its LM head."""
    return BackboneError(
        "this backbone does not give hidden states and logits together",
        where=name,
        got=f"{type(model).__name__}, which does not run without its layers",
        expected="a model that can be parted before its LM head",
    )


@dataclass(frozen=True, slots=True)
class BatchReads:
    """The reads of one batch.

    Attributes:
        found: [N, V] logits, or [N, H] hidden states.
        tail: hidden states -> logits; None where `found` is logits.
        piece: how many reads have their logits at a time.
        hidden: whether `found` is hidden states.
        beside: the hidden states [N, H], alone in a list, that belong to logits in `found`.
    """

    found: Tensor
    tail: Callable[[Tensor], Tensor] | None = None
    piece: int = 0
    hidden: bool = False
    beside: Sequence[Tensor] = ()

    def logits(self) -> Tensor:
        """[N, V] float32, all of them; not of a pass that was asked for states alone."""
        if self.tail is None and self.hidden:
            raise BackboneError("this pass left hidden states and no logits", expected="logits")
        return (self.found if self.tail is None else self.tail(self.found)).float()

    def states(self) -> Tensor:
        """[N, H] float32, the hidden states that the LM head takes in.

        Raises:
            BackboneError: the pass was asked for logits.
        """
        if self.beside:
            return self.beside[0].float()
        if not self.hidden:
            raise BackboneError(
                "this pass left logits and no hidden states",
                got=f"logits {tuple(self.found.shape)}",
                expected="a pass that is asked for states",
            )
        return self.found.float()

    def nll(self, targets: Tensor) -> Tensor:
        """[N] float32 -log p(target) of targets [N]; 0 where a target is -100."""
        targets = targets.to(self.found.device)

        def loss(logits: Tensor, wanted: Tensor) -> Tensor:
            return functional.cross_entropy(logits, wanted, reduction="none")

        return self._by_piece(loss, targets)

    def likeliest(self, tokens: Tensor) -> Tensor:
        """[N] bool, whether tokens [N] are the likeliest at their reads."""
        return self._by_piece(
            lambda logits, wanted: logits.argmax(-1) == wanted, tokens.to(self.found.device)
        )

    def log_probs(self, at: Tensor, tokens: Tensor) -> Tensor:
        """[E] float32 log p(token) of tokens [E] at reads number `at` [E], in ascending order."""
        at, tokens = at.to(self.found.device), tokens.to(self.found.device)
        if self.tail is None or len(self.found) <= self.piece:
            return _at(self.logits(), at, tokens)
        pieces = torch.split(self.found, self.piece)
        sizes = torch.bincount(at // self.piece, minlength=len(pieces)).tolist()
        parts = zip(pieces, torch.split(at, sizes), torch.split(tokens, sizes), strict=True)
        return torch.cat(
            [
                self._piece(partial(_at, at=some - number * self.piece, tokens=wanted), hidden)
                for number, (hidden, some, wanted) in enumerate(parts)
            ]
        )

    def divergence(self, other: BatchReads) -> Tensor:
        """[N] float32 KL(p of the other || p of this), over the vocabulary, at each read.

        Args:
            other: hidden states with a tail, if this has them; no gradients go to it.
        """

        def loss(logits: Tensor, theirs: Tensor) -> Tensor:
            wanted = (theirs if other.tail is None else other.tail(theirs)).float()
            pair = logits.log_softmax(-1), wanted.log_softmax(-1)
            return functional.kl_div(*pair, reduction="none", log_target=True).sum(-1)

        return self._by_piece(loss, other.found.detach())

    def _by_piece(self, loss: Callable[[Tensor, Tensor], Tensor], other: Tensor) -> Tensor:
        """[N] a loss of logits and what belongs to their reads."""
        if self.tail is None or len(other) <= self.piece:
            return loss(self.logits(), other)
        pieces = (torch.split(tensor, self.piece) for tensor in (self.found, other))

        def of(theirs: Tensor) -> Callable[[Tensor], Tensor]:
            return lambda logits: loss(logits, theirs)

        pairs = zip(*pieces, strict=True)
        return torch.cat([self._piece(of(theirs), hidden) for hidden, theirs in pairs])

    def _piece(self, loss: Callable[[Tensor], Tensor], hidden: Tensor) -> Tensor:
        """A loss of the logits that hidden states become."""
        tail = self.tail
        assert tail is not None

        def found(states: Tensor) -> Tensor:
            return loss(tail(states).float())

        if not (torch.is_grad_enabled() and hidden.requires_grad):
            return found(hidden)
        again: Tensor = checkpoint(found, hidden, use_reentrant=False, preserve_rng_state=False)
        return again


def _at(logits: Tensor, at: Tensor, tokens: Tensor) -> Tensor:
    """[E] log p(token) from logits [N, V], at reads `at` [E]."""
    return logits[at, tokens] - logits.logsumexp(-1)[at]


class Tail:
    """What a model itself does after its last layer: hidden states [N, H] -> logits [N, V].

    The model's own forward runs with its layers standing aside, so that what comes before the LM
    head, and scales and soft caps after it, stay the model's own business. Whether that works is
    for a trial to say.

    Args:
        layers: the part of the model that stands aside; its decoder by default.
        options: more of what the model is called with.
    """

    def __init__(self, model: Any, layers: Any = None, **options: Any) -> None:
        self._model, self._options = model, options
        self._layers = model.get_decoder() if layers is None else layers

    def __call__(self, hidden: Tensor) -> Tensor:
        """The logits."""
        given = BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden[None])
        before = vars(self._layers).get("forward")
        self._layers.__dict__["forward"] = lambda *args, **options: given
        try:
            logits: Tensor = self._model(inputs_embeds=hidden[None], **self._options).logits[0]
        finally:
            if before is None:
                del self._layers.__dict__["forward"]
            else:
                self._layers.__dict__["forward"] = before
        return logits
