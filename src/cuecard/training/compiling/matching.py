"""Keys and values that attend as the whole text's do, in closed form.

"Attention Matching" (2026, arXiv:2602.16284), for each layer and key head, with queries Q of sample
inputs, the text's keys K and values V, and scale s:

    kept   the P keys with the largest RMS attention weight over Q
    w      w >= 0, least squares of exp(s Q K_kept') w = rowsum exp(s Q K'); beta = log w
    C_v    least squares of softmax(s Q C_k' + beta) C_v = softmax(s Q K') V

A prefix has keys and values and no beta. Where that makes the sums of the weights more alike, each
beta goes into its key instead: C_k = K_kept + beta u', with u the least squares of s Q u = 1.
Everything is computed for the positions that the prompt has: the text's keys are those of a run at
positions moved by P - T, so that they are as far before an input as in the full text. A model
without rotary positions has none such, and keeps the keys that it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cuecard.errors import BackboneError, ConfigError
from cuecard.lazy import lazy_module, np, torch
from cuecard.training.compiling.full_text import FullText
from cuecard.types import Encoded, LayerAttention, PrefixKV, ShowsQueries

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

optimize = lazy_module("scipy.optimize")

SAMPLES = 24
"""Of how many inputs, with the text's answers, the queries are taken."""

_QUERIES = 2048  # of one key head, at most
_LEAST, _MOST = 0.02, 50.0  # of w
_RIDGE = 1e-4

# How far values may be from those at other positions, in norm, to count as the same: rounding to
# bfloat16 makes it 0.03 in 30 layers, learned positions about 1.
_SAME = 0.1


def matched(text: FullText, length: int, rows: Sequence[Encoded]) -> PrefixKV:
    """Keys and values of so many positions that attend as the whole text does.

    Args:
        rows: sample inputs with the text's answers.

    Raises:
        ConfigError: a backbone that does not show what its attention is asked with.
    """
    backbone = text.backbone
    if not isinstance(backbone, ShowsQueries):
        raise _refused(text, "an attention that cannot be looked at")
    try:
        opening, moved = _text_at(backbone, text, length - text.length)
        kept = moved if opening is None else torch.cat([opening, moved], 3)
        start = len(text.before) + length
        asked: list[list[LayerAttention]] = []
        for row in rows[:SAMPLES]:
            ids = (*row.context[row.slot :], *row.target[:-1])
            if ids:
                asked.append(backbone.layer_attention(ids, kept, start))
    except BackboneError as error:
        raise _refused(text, error.got) from error
    layers = [
        _fit_layer([each[number] for each in asked], keys, values, length)
        for number, (keys, values) in enumerate(moved)
    ]
    return PrefixKV(torch.stack(layers), text.late)


def _text_at(backbone: ShowsQueries, text: FullText, moved: int) -> tuple[Tensor | None, Tensor]:
    """Keys and values of what comes before the text, and of the text `moved` positions on."""
    first = len(text.before)
    whole = (*text.before, *text.ids)
    opening = None
    if first:
        opening = _stacked(backbone.layer_attention(text.before))
    if not moved or not _is_relative(backbone, whole[: first + 4], moved):
        return opening, text.keys_values
    return opening, _stacked(backbone.layer_attention(whole, None, moved))[..., first:, :]


def _is_relative(backbone: ShowsQueries, ids: Sequence[int], moved: int) -> bool:
    """Whether a model makes the same of tokens at other positions, but for its keys."""
    here = _stacked(backbone.layer_attention(ids))
    try:
        there = _stacked(backbone.layer_attention(ids, None, moved))
    except BackboneError:  # it has no such positions
        return False
    return bool((here - there)[:, 1].norm() <= _SAME * here[:, 1].norm())


def _stacked(layers: Sequence[LayerAttention]) -> Tensor:
    """[L, 2, K, W, D] float32 their keys and values."""
    return torch.stack([torch.stack([each.keys, each.values]) for each in layers]).float()


def _fit_layer(
    asked: Sequence[LayerAttention], keys: Tensor, values: Tensor, length: int
) -> Tensor:
    """[2, K, P, D] of one layer, from the text's keys and values [K, T, D]."""
    groups = asked[0].queries.shape[0] // keys.shape[0]
    found = []
    for head, (own_keys, own_values) in enumerate(zip(keys, values, strict=True)):
        own = slice(head * groups, (head + 1) * groups)
        queries = torch.cat([each.queries[own].flatten(0, 1) for each in asked]).double()
        step = -(-len(queries) // _QUERIES)
        found.append(fit(asked[0], queries[::step], own_keys.double(), own_values.double(), length))
    made = [torch.stack(each) for each in zip(*found, strict=True)]
    return torch.stack(made).float()


def fit(
    layer: LayerAttention, queries: Tensor, keys: Tensor, values: Tensor, length: int
) -> tuple[Tensor, Tensor]:
    """The keys and values [P, D] that stand for others [T, D] where queries [N, D] ask."""
    scores = layer.scores(queries, keys)
    sums = scores.logsumexp(-1, keepdim=True)
    weights = (scores - sums).exp()
    kept = weights.pow(2).mean(0).topk(length).indices.sort().values
    plain, shares = keys[kept], weights[:, kept]
    beta = torch.from_numpy(_positive(shares.cpu().numpy())).to(keys).clamp(_LEAST, _MOST).log()
    along = torch.linalg.lstsq(queries * layer.scale, torch.ones_like(sums)).solution
    candidates = [plain, plain + beta[:, None] * along.T]

    def apart(some: Tensor) -> float:
        """How far the sums of the weights are from the text's."""
        return float((layer.scores(queries, some) - sums).exp().sum(-1).sub(1).pow(2).mean())

    best = min(candidates, key=apart)
    share = layer.scores(queries, best).softmax(-1)
    missing = weights @ values - share @ values[kept]
    square = share.T @ share
    ridge = _RIDGE * square.diagonal().mean() * torch.eye(length).to(square)
    return best, values[kept] + torch.linalg.solve(square + ridge, share.T @ missing)


def _positive(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """[P] w >= 0, the least squares of shares [N, P] w = 1."""
    if len(shares) > shares.shape[1]:  # a triangle asks the same
        turned, triangle = np.linalg.qr(shares)
        found, _ = optimize.nnls(triangle, turned.sum(0))
    else:
        found, _ = optimize.nnls(shares, np.ones(len(shares)))
    return np.asarray(found)


def _refused(text: FullText, got: object) -> ConfigError:
    return ConfigError(
        "the closed form cannot be had of this backbone",
        where=f"start, backbone {text.backbone.name}",
        got=got,
        expected="plain causal attention over all that comes before",
        hint="start from the text's first tokens (--start first)",
    )
