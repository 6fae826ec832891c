"""Packed attention against the formula in float64, its gradient against finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cuecard.backbones.kernels.attention import UnpackableError, attend, packed
from cuecard.backbones.kernels.packing import Packing, Past

LENGTHS = [3, 1, 2]
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "nothing shared": {"shared": 0},
    "one key head": {"keys": 1},
    "as many key heads": {"keys": 4},
    "window": {"sliding_window": 2},
    "wide window": {"sliding_window": 99},
    "capped": {"softcap": 1.5},
    "capped window": {"softcap": 1.5, "sliding_window": 3},
    "scaled": {"scaling": 0.31},
    "values of another size": {"value_size": 3},
}


def inputs(shared: int, keys: int, value_size: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    total = shared + sum(LENGTHS)
    sizes = [(4, 5), (keys, 5), (keys, value_size)]
    return [
        torch.randn(1, heads, total, size, generator=generator, dtype=torch.float64)
        for heads, size in sizes
    ]


def formula(
    query: Tensor, key: Tensor, value: Tensor, shared: int, options: dict[str, Any]
) -> Tensor:
    """Row by row: the shared part and the row, causal."""
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scale = options.get("scaling", query.shape[-1] ** -0.5)
    outs, start = [], shared
    for row, length in enumerate([0, *LENGTHS]):
        own = torch.arange(start, start + length)
        start += length
        seen = torch.cat([torch.arange(shared), own])
        scores = query[0][:, seen] @ key[0][:, seen].mT * scale
        if cap := options.get("softcap"):
            scores = cap * (scores / cap).tanh()
        ahead = torch.arange(len(seen))[None] - torch.arange(len(seen))[:, None]
        hidden = (ahead > 0) | (ahead <= -options.get("sliding_window", 10**6))
        out = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value[0][:, seen]
        outs.append(out.transpose(0, 1)[shared if row else 0 :])
    return torch.cat(outs)[None]


@pytest.mark.parametrize("keep", [0, 10**9])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case: str, keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cuecard.backbones.kernels.attention._KEEP_BYTES", keep)
    options = dict(CASES[case])
    shared, keys = options.pop("shared", 2), options.pop("keys", 2)
    tensors = inputs(shared, keys, options.pop("value_size", 5))
    packing = Packing.of(shared, torch.tensor(LENGTHS))

    def ours(*given: Tensor) -> Tensor:
        with packed(packing):
            return attend(None, *given, None, **options)[0]

    torch.testing.assert_close(ours(*tensors), formula(*tensors, shared, options))
    assert torch.autograd.gradcheck(ours, [t.requires_grad_(True) for t in tensors])


def test_the_gradient_is_the_formulas_whatever_the_layout() -> None:
    tensors = inputs(2, 2, 5)
    packing = Packing.of(2, torch.tensor(LENGTHS))
    grads = []
    for transposed in (False, True):
        given = [t.clone().requires_grad_(True) for t in tensors]
        seen = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in given]
        with packed(packing):
            out = attend(None, *(seen if transposed else given), None)[0]
        out.sin().sum().backward()
        grads.append([t.grad for t in given])
    torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize("options", [{}, {"sliding_window": 3}, {"softcap": 1.5}])
def test_a_past_is_what_the_same_tokens_in_the_row_would_be(options: dict[str, Any]) -> None:
    """Rows of 3, 1 and 2 own tokens behind 2, 4 and 1 earlier ones, against whole rows."""
    pasts = [2, 4, 1]
    generator = torch.Generator().manual_seed(1)
    whole = [p + n for p, n in zip(pasts, LENGTHS, strict=True)]
    query, key, value = (
        torch.randn(1, heads, sum(whole), 5, generator=generator, dtype=torch.float64)
        for heads in (4, 2, 2)
    )
    with packed(Packing.of(0, torch.tensor(whole))):
        expected = attend(None, query, key, value, None, **options)[0]
    starts = [sum(whole[:row]) for row in range(3)]
    own = [
        i for s, p, n in zip(starts, pasts, LENGTHS, strict=True) for i in range(s + p, s + p + n)
    ]
    kept = torch.zeros(2, 2, 3, 4 + 3, 5, dtype=torch.float64)  # room for 3 own ones
    for row, (start, past) in enumerate(zip(starts, pasts, strict=True)):
        kept[0, :, row, :past] = key[0, :, start : start + past]
        kept[1, :, row, :past] = value[0, :, start : start + past]
    before = Past(torch.tensor(pasts), [(kept[0].flatten(0, 1), kept[1].flatten(0, 1))], 3)
    packing = Packing.of(0, torch.tensor(LENGTHS), before)

    def ours(*given: Tensor) -> Tensor:
        with packed(packing):
            return attend(None, *given, None, **options)[0]

    tensors = [t[:, :, own].clone().requires_grad_(True) for t in (query, key, value)]
    torch.testing.assert_close(ours(*tensors), expected[:, own])
    assert packing.positions().tolist() == [[2, 3, 4, 4, 1, 2]]
    assert torch.autograd.gradcheck(ours, tensors)


@pytest.mark.parametrize(
    "options", [{"s_aux": torch.zeros(4)}, {"dropout": 0.1}, {"attention_mask": torch.ones(1)}]
)
def test_what_is_not_known_is_refused(options: dict[str, Any]) -> None:
    tensors = inputs(2, 2, 5)
    mask = options.pop("attention_mask", None)
    with packed(Packing.of(2, torch.tensor(LENGTHS))), pytest.raises(UnpackableError):
        attend(None, *tensors, mask, **options)


def test_it_works_for_nobody_else() -> None:
    with pytest.raises(UnpackableError, match="no packed sequence"):
        attend(None, *inputs(2, 2, 5), None)


@pytest.mark.parametrize("shared", [0, 2])
@pytest.mark.parametrize("options", [{}, {"sliding_window": 3}, {"softcap": 1.5}])
def test_a_prefix_is_what_as_many_shared_tokens_would_be(
    options: dict[str, Any], shared: int
) -> None:
    """Keys and values in front of everything, with no queries of their own."""
    ahead = 3
    query, key, value = inputs(ahead + shared, 2, 5)
    with packed(Packing.of(ahead + shared, torch.tensor(LENGTHS))):
        expected = attend(None, query, key, value, None, **options)[0]

    def ours(prefix: Tensor, *given: Tensor) -> Tensor:
        packing = Packing.of(shared, torch.tensor(LENGTHS), prefix=prefix)
        assert packing.positions()[0, 0] == ahead
        with packed(packing):
            return attend(None, *given, None, **options)[0]

    prefix = torch.stack([key[0, :, :ahead], value[0, :, :ahead]])[None]
    given = [
        t.clone().requires_grad_(True)
        for t in (prefix, *(x[:, :, ahead:] for x in (query, key, value)))
    ]
    torch.testing.assert_close(ours(*given), expected[:, ahead:])
    assert torch.autograd.gradcheck(ours, given)
