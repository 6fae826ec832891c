"""Each row's attention is what it is alone, whatever stands beside it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cuecard.backbones.kernels import ragged_rows
from cuecard.backbones.kernels.ragged_rows import Branches, RaggedRows

BEFORE, LENGTHS = (5, 0, 9), (4, 1, 7)
K, G, D = 2, 3, 8


def noise(seed: int, *sizes: int) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def given() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query [1, H, N, D], key and value [1, K, N, D], and what stands before [2, B, K, U, D]."""
    count, longest = sum(LENGTHS), max(map(sum, zip(BEFORE, LENGTHS, strict=True)))
    values = torch.zeros(2, len(BEFORE), K, longest, D)
    for row, before in enumerate(BEFORE):
        values[:, row, :, :before] = noise(row, 2, K, before, D)
    return noise(7, 1, K * G, count, D), noise(8, 1, K, count, D), noise(9, 1, K, count, D), values


def alone(
    query: Tensor, keys: Tensor, values: Tensor, seen: Tensor, scale: float, cap: float
) -> Tensor:
    """[H, W, D] of one row, in float64: its query [H, W, D], all of its keys [U, K, D]."""
    keys, values = (t.double().repeat_interleave(G, 1).transpose(0, 1) for t in (keys, values))
    scores = query.double() @ keys.mT * scale
    if cap:
        scores = cap * (scores / cap).tanh()
    return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ values


@pytest.mark.parametrize("scores", [2**20, 600])  # at a time: all, or of two tokens
@pytest.mark.parametrize("branched", [False, True])
@pytest.mark.parametrize("cap", [0.0, 2.0])
@pytest.mark.parametrize("window", [0, 4])
def test_as_alone(
    window: int, cap: float, branched: bool, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ragged_rows, "_SCORES", scores)
    query, key, value, before = given()
    place = [n for length in LENGTHS for n in range(length)]
    number = [0] * len(place)
    if branched:  # the longest row ends in two continuations of two tokens
        place[-4:], number[-4:] = [3, 4, 3, 4], [1, 1, 2, 2]
    branches = Branches(torch.tensor(place), torch.tensor(number)) if branched else None
    rows = RaggedRows(
        torch.stack([before * 0, before]), torch.tensor(BEFORE), torch.tensor(LENGTHS), branches
    )
    found = rows.attend(1, (query, key, value), 0.3, window, cap)
    assert rows.tokens == sum(LENGTHS)
    position = torch.tensor(place) + torch.tensor(BEFORE).repeat_interleave(torch.tensor(LENGTHS))
    assert torch.equal(rows.positions()[0], position)
    start = 0
    for row, (past, length) in enumerate(zip(BEFORE, LENGTHS, strict=True)):
        end = start + length
        keys = torch.cat([before[0, row, :, :past], key[0, :, start:end]], 1).transpose(0, 1)
        values = torch.cat([before[1, row, :, :past], value[0, :, start:end]], 1).transpose(0, 1)
        stands = torch.cat([torch.arange(past), position[start:end]])
        branch = torch.tensor([0] * past + number[start:end])
        ahead = stands[None] - position[start:end, None]
        seen = ahead <= 0
        if window:
            seen &= ahead > -window
        seen &= (branch == 0)[None] | (branch[None] == branch[past:, None])
        expected = alone(query[0, :, start:end], keys, values, seen, 0.3, cap)
        torch.testing.assert_close(
            found[0, start:end].double(), expected.transpose(0, 1), atol=1e-5, rtol=1e-5
        )
        start = end


def test_one_rows_infinity_stays_its_own() -> None:
    query, key, value, before = given()
    value[0, :, : LENGTHS[0]] = torch.nan
    key[0, :, : LENGTHS[0]] = torch.inf
    rows = RaggedRows(before[None], torch.tensor(BEFORE), torch.tensor(LENGTHS))
    found = rows.attend(0, (query, key, value), 0.3, 0, 0.0)
    assert not bool(found[0, : LENGTHS[0]].isfinite().any())
    assert bool(found[0, LENGTHS[0] :].isfinite().all())
