"""Tokens from logits: the likeliest, or drawn, each row in its own way.

A draw depends on the row's logits and seed alone, whatever stands beside it in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cuecard.serving.engine import Sampling, Token

# Sorting a whole vocabulary takes milliseconds; the likeliest few hold `top_p` almost always.
_LIKELIEST = 256


class Chooser:
    """How one answer's tokens are chosen."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn at all."""
        return self._sampling.temperature > 0

    def draw(self, logits: Tensor) -> int:
        """A token's id for logits [V]."""
        wide = logits.cpu().double() / self._sampling.temperature
        shares = (wide - wide.max()).exp()
        shares /= shares.sum()
        ids: Tensor | None = None
        if self._sampling.top_p < 1:
            shares, ids = _likeliest(shares, self._sampling.top_p)
        ends = shares.cumsum(0)
        point = torch.rand((), generator=self._generator, dtype=torch.float64) * ends[-1]
        place = min(int(torch.searchsorted(ends, point, right=True)), len(ends) - 1)
        return place if ids is None else int(ids[place])


def choose(logits: Tensor, choosers: Sequence[Chooser]) -> list[Token | None]:
    """A token per row of logits [n, V]; None where logits are not finite."""
    wide = logits.float()
    norms = wide.logsumexp(-1)
    picked = wide.argmax(-1)
    finite = torch.isfinite(norms).tolist()
    for row, chooser in enumerate(choosers):
        if chooser.draws and finite[row]:
            picked[row] = chooser.draw(wide[row])
    logs = wide.gather(1, picked[:, None])[:, 0] - norms
    found = zip(picked.tolist(), logs.tolist(), finite, strict=True)
    return [Token(token, log) if known else None for token, log, known in found]


def _likeliest(shares: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The fewest tokens that hold `top_p` together, likeliest first: shares and ids."""
    found = shares.topk(min(_LIKELIEST, len(shares)))
    ordered, ids = found.values, found.indices
    if float(ordered.sum()) < top_p:
        ordered, ids = shares.sort(descending=True, stable=True)
    # A token counts while those before it hold less than `top_p`; the first always does.
    count = max(1, int((ordered.cumsum(0) - ordered < top_p).sum()))
    return ordered[:count], ids[:count]
