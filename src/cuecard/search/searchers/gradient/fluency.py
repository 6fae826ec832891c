"""How likely a model finds the words of a trigger, and how that changes with each of them.

The mean over its tokens of -log p(token | those before it), as in PEZ (Wen et al. 2023, section
4.3); for a masked model of -log p(token | all others), each masked in turn (Salazar et al. 2020,
arXiv:1910.14659, section 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.search.budget import Amount
from cuecard.tasks import collate
from cuecard.tasks.encoding.tokens import leading_ids, mask_of
from cuecard.types import Backbone, Batch, Encoded, HasDecoder, InputTokens

if TYPE_CHECKING:
    from torch import Tensor


class Fluency:
    """The fluency of triggers.

    Raises:
        ConfigError: an encoder-decoder, which does not say the words that it reads.
    """

    def __init__(self, backbone: Backbone) -> None:
        if isinstance(backbone, HasDecoder):
            raise ConfigError(
                "an encoder-decoder does not say how likely the words of its input are",
                where="--fluency",
                got=backbone.name,
                expected="a causal or masked language model, or fluency 0",
            )
        self._backbone = backbone
        self._leading = leading_ids(backbone.tokenizer)
        self._mask = mask_of(backbone.tokenizer)[1] if "masks" in backbone.reads else None

    def cost(self, length: int) -> Amount:
        """What one trigger takes."""
        tokens = len(self._leading) + length
        return Amount(1, tokens) if self._mask is None else Amount(length, length * tokens)

    def of(self, triggers: Sequence[Sequence[int]]) -> list[float]:
        """Each trigger's mean negative log-likelihood; all of one length."""
        rows = [row for ids in triggers for row in self._rows(ids)]
        with torch.no_grad():
            batch = collate(rows)
            nll = self._backbone.read(batch, None).nll(batch.target_ids)
        return [float(part.mean()) for part in nll.chunk(len(triggers))]

    def words(self, ids: Sequence[int]) -> Tensor:
        """[P, V] -log p of every token in each place of a trigger; zeros where none is read."""
        with torch.no_grad():
            logs = self._backbone.read(collate(self._rows(ids)), None).logits().log_softmax(-1)
        found = logs.new_zeros(len(ids), logs.shape[1])
        found[len(ids) - len(logs) :] = -logs
        return found

    def gradient(self, ids: Sequence[int]) -> tuple[float, Tensor]:
        """A trigger's fluency, and its gradient [P, H] at the tokens, as those before others."""
        table, first = self._backbone.embeddings, len(self._leading)
        width = first + len(ids)
        shifts = torch.zeros(width, table.shape[1], device=table.device, requires_grad=True)
        parts: list[tuple[Batch, InputTokens]] = []
        for encoded, target in self._rows(ids):
            own = shifts
            if encoded.mask is not None:  # the mask is not the token that it stands for
                keep = torch.ones(width, 1, device=table.device)
                keep[encoded.mask] = 0
                own = shifts * keep
            parts.append((collate([(encoded, target)]), InputTokens(table[:0].float(), own)))
        found = self._backbone.read_many(parts)
        pairs = zip(found, parts, strict=True)
        nll = torch.cat([reads.nll(batch.target_ids) for reads, (batch, _) in pairs]).mean()
        (inputs,) = torch.autograd.grad(nll, shifts)
        return float(nll.detach()), inputs[first:]

    def _rows(self, ids: Sequence[int]) -> list[tuple[Encoded, tuple[int, ...]]]:
        """Rows and what is read of them: one that is read on, or one for every mask."""
        whole = (*self._leading, *ids)
        if self._mask is None:
            # Nothing is read before the first token of all.
            start = max(1, len(self._leading))
            return [(Encoded(whole[:start], ()), whole[start:])]
        return [
            (Encoded((*whole[:at], self._mask, *whole[at + 1 :]), (), mask=at), (whole[at],))
            for at in range(len(self._leading), len(whole))
        ]
