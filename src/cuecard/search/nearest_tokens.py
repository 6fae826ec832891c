"""The tokens whose embeddings are nearest to vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cuecard.lazy import functional, torch

if TYPE_CHECKING:
    from torch import Tensor

# Rows of the embedding table that are compared at once.
_ROWS = 1 << 14


@dataclass(frozen=True, slots=True)
class NearestTokens:
    """The token that is nearest to each of P vectors.

    Attributes:
        ids: the tokens.
        cosines: [P] of each vector with its token's embedding.
    """

    ids: tuple[int, ...]
    cosines: tuple[float, ...]


def nearest_tokens(vectors: Tensor, table: Tensor, allowed: Tensor) -> NearestTokens:
    """The nearest by cosine, as in PEZ (Wen et al. 2023, section 3.1); of equals the first.

    Args:
        vectors: [P, H].
        table: [V, H] the embedding matrix.
        allowed: [V] bool, the tokens that count.
    """
    best = torch.full((len(vectors),), -2.0)
    ids = torch.zeros(len(vectors), dtype=torch.int64)
    wanted = functional.normalize(vectors.detach().float(), dim=-1)
    for start in range(0, len(table), _ROWS):
        rows = functional.normalize(table[start : start + _ROWS].float(), dim=-1)
        barred = ~allowed[start : start + _ROWS].to(rows.device)
        found, at = (wanted.to(rows.device) @ rows.T).masked_fill(barred, -2.0).max(-1)
        found, at = found.cpu(), at.cpu()
        ids = torch.where(found > best, start + at, ids)
        best = torch.maximum(found, best)
    return NearestTokens(tuple(ids.tolist()), tuple(best.tolist()))
