"""Which words the vectors of a prompt are nearest to.

The words are a hint of where a prompt started and how far it went, not its meaning: trained
vectors move off the words (Lester et al. 2021, arXiv:2104.08691, section 7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.types import Backbone

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 8192  # of the embedding table at a time: a float32 copy of all of it could be a gigabyte


@dataclass(frozen=True, slots=True)
class Neighbours:
    """One vector of a prompt among the input embeddings.

    Attributes:
        norm: its Euclidean length.
        relative_norm: the same over the root mean square of the embeddings' lengths.
        words: the nearest tokens' texts and their cosines, nearest first.
    """

    norm: float
    relative_norm: float
    words: tuple[tuple[str, float], ...]


def nearest_words(vectors: Tensor, backbone: Backbone, count: int = 3) -> list[Neighbours]:
    """The nearest tokens of each vector by cosine.

    Args:
        vectors: [P, H].
        backbone: whose input embeddings and tokenizer to look in.
        count: how many tokens to name.

    Raises:
        ConfigError: vectors of another width, or a count below one or above the vocabulary.
    """
    table = backbone.embeddings
    size, width = table.shape
    if vectors.ndim != 2 or vectors.shape[1] != width or not 1 <= count <= size:
        raise ConfigError(
            "these vectors have no nearest words here",
            where=backbone.name,
            got=f"vectors of shape {tuple(vectors.shape)}, {count} words",
            expected=f"shape (any, {width}), 1 to {size} words",
        )
    with torch.inference_mode():
        own = vectors.to(table.device, torch.float32)
        cosines, ids, mean_square = _search(own, table, count)
        norms = own.norm(dim=1)
        relative = norms / mean_square.sqrt().clamp_min(1e-12)
    return [
        Neighbours(
            norm=float(norms[i]),
            relative_norm=float(relative[i]),
            words=tuple(
                (str(backbone.tokenizer.decode([token])), value)
                for token, value in zip(ids[i].tolist(), cosines[i].tolist(), strict=True)
            ),
        )
        for i in range(len(own))
    ]


def _search(own: Tensor, table: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """[P, count] best cosines and their token ids, and the table's mean squared length."""
    unit = torch.nn.functional.normalize(own, dim=1)
    cosines = own.new_empty(len(own), 0)
    ids = torch.empty(len(own), 0, dtype=torch.int64, device=own.device)
    total = own.new_zeros(())
    for start in range(0, len(table), _ROWS):
        part = table[start : start + _ROWS].float()
        total += part.square().sum()
        here = unit @ torch.nn.functional.normalize(part, dim=1).T
        places = torch.arange(start, start + len(part), device=own.device).expand(len(own), -1)
        cosines, ids = torch.cat([cosines, here], 1), torch.cat([ids, places], 1)
        best = cosines.topk(min(count, cosines.shape[1]), dim=1)
        cosines, ids = best.values, ids.gather(1, best.indices)
    return cosines, ids, total / len(table)
