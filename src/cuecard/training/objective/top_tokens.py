"""A teacher's likeliest tokens at every token of an answer, and the distance to them.

As in Eyuboglu et al., "Cartridges" (2025, arXiv:2506.06266), section 3.2, the teacher's top tokens
stand for its distribution; here with one more outcome, all other tokens together, so that the
distance is a KL divergence: 0 where both agree, and never less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from cuecard.lazy import torch
from cuecard.tasks import collate
from cuecard.types import Backbone, Encoded, Injection, Reads

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-6  # of the probability of all other tokens, where its logarithm is taken


@dataclass(frozen=True, slots=True, eq=False)
class TopTokens:
    """What a teacher would say at each token of a row's target.

    Attributes:
        tokens: [n, k] int64, the likeliest first.
        logs: [n, k] float32, their log-probabilities.
    """

    tokens: Tensor
    logs: Tensor


Taught: TypeAlias = Mapping[Encoded, TopTokens]
"""A teacher's tokens for each row."""


def top_tokens(
    backbone: Backbone, rows: Sequence[Encoded], injection: Injection | None, count: int
) -> list[TopTokens]:
    """What the backbone would say under an injection at each token of the rows' targets.

    Args:
        count: k, at most the vocabulary.
    """
    batch = collate([(row, row.target) for row in rows])
    with torch.inference_mode():
        logs = backbone.read(batch, injection).logits().log_softmax(-1)
        best = logs.topk(min(count, logs.shape[-1]))
    sizes = [len(row.target) for row in rows]
    parts = (torch.split(tensor.cpu().clone(), sizes) for tensor in (best.indices, best.values))
    return [TopTokens(tokens, values) for tokens, values in zip(*parts, strict=True)]


def divergence(rows: Sequence[Encoded], taught: Taught, reads: Reads) -> Tensor:
    """[N] float32 KL(teacher || these) over the teacher's top tokens and all others as one."""
    known = [taught[row] for row in rows]
    tokens = torch.cat([one.tokens for one in known])
    wanted = torch.cat([one.logs for one in known])
    count, each = tokens.shape
    at = torch.arange(count).repeat_interleave(each)
    logs = reads.log_probs(at, tokens.flatten()).view(count, each)
    wanted = wanted.to(logs.device)
    shares = wanted.exp()
    apart = (shares * (wanted - logs)).sum(-1)
    rest = (1 - shares.sum(-1)).clamp(min=0)
    others = (1 - logs.exp().sum(-1)).clamp(min=_LEAST)
    return apart + rest * (rest.clamp(min=_LEAST).log() - others.log())
