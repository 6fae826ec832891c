"""Tokens that can be read, and those whose embeddings are nearest to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from cuecard.lazy import functional, torch
from cuecard.tasks.encoding.tokens import special_texts
from cuecard.types import Record, Tokenizer

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


def nearest_tokens(
    vectors: Tensor, table: Tensor, allowed: Tensor, metric: Literal["cosine", "l2"] = "cosine"
) -> NearestTokens:
    """The nearest tokens, by cosine as in PEZ (Wen et al. 2023, section 3.1); of equals the first.

    Args:
        vectors: [P, H].
        table: [V, H] the embedding matrix.
        allowed: [V] bool, the tokens that count.
    """
    wanted = vectors.detach().float().cpu()
    unit = functional.normalize(wanted, dim=-1)
    best = torch.full((len(wanted),), -torch.inf)
    ids = torch.zeros(len(wanted), dtype=torch.int64)
    for start in range(0, len(table), _ROWS):
        rows = table[start : start + _ROWS].float().cpu()
        if metric == "cosine":
            scores = unit @ functional.normalize(rows, dim=-1).T
        else:
            scores = -torch.cdist(wanted, rows)
        scores = scores.masked_fill(~allowed[start : start + _ROWS], -torch.inf)
        found, at = scores.max(-1)
        ids = torch.where(found > best, start + at, ids)
        best = torch.maximum(found, best)
    cosines = functional.cosine_similarity(wanted, table[ids].float().cpu())
    return NearestTokens(tuple(ids.tolist()), tuple(cosines.tolist()))


def readable_tokens(tokenizer: Tokenizer, size: int, records: Sequence[Record] = ()) -> Tensor:
    """[size] bool, the tokens of printable ASCII and of characters that records have.

    Special tokens are none of them.
    """
    key: Any = tokenizer
    known = frozenset("".join(text for record in records for text in record.texts.values()))
    return _readable_tokens(key, size, known)


@lru_cache(maxsize=2)
def _readable_tokens(tokenizer: Any, size: int, known: frozenset[str]) -> Tensor:
    specials = special_texts(tokenizer)
    texts = (str(tokenizer.decode([token])) for token in range(size))
    return torch.tensor([_is_readable(text, known, specials) for text in texts])


def _is_readable(text: str, known: frozenset[str], specials: Sequence[str]) -> bool:
    if not text.strip() or any(special in text for special in specials):
        return False
    return all(char in known or (char.isascii() and char.isprintable()) for char in text)
