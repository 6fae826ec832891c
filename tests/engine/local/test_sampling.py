"""Tokens are drawn as often as they should be, and the same ones for the same seed."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
import torch

from cuecard.engine.json_grammar import GrammarCompiler
from cuecard.engine.local.sampling import TokenSampler, sample
from cuecard.engine.protocol import Sampling, Token
from cuecard.errors import ConfigError
from support.tiny import tiny_tokenizer

LOGITS = torch.tensor([2.0, 0.5, -1.0, 1.0, -20.0])


def drawn(count: int, logits: torch.Tensor = LOGITS, **more: float) -> Counter[int]:
    sampler = TokenSampler(Sampling(1, seed=5, **{"temperature": 1.0, **more}))  # type: ignore[arg-type]
    return Counter(sampler.draw(logits) for _ in range(count))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_shares_are_those_of_softmax(temperature: float) -> None:
    shares = (LOGITS / temperature).softmax(0)
    found = drawn(4000, temperature=temperature)
    for token, share in enumerate(shares.tolist()):
        assert abs(found[token] / 4000 - share) < 0.03


def test_top_p_leaves_the_unlikely_out() -> None:
    shares = LOGITS.softmax(0)
    assert 0.5 < float(shares[0]) < float(shares[[0, 3]].sum()) < 0.85
    assert set(drawn(500, top_p=0.5)) == {0}
    assert set(drawn(500, top_p=0.7)) == {0, 3}
    assert set(drawn(500, top_p=0.9)) == {0, 1, 3}
    assert set(drawn(2000, top_p=0.999)) == {0, 1, 2, 3}


def test_top_p_over_a_flat_vocabulary() -> None:
    """More tokens than are looked at first."""
    flat = torch.zeros(2000)
    assert len(drawn(20_000, flat, top_p=0.5)) == 1000


def test_greedy_and_drawn_rows_side_by_side() -> None:
    logits = torch.stack([LOGITS, LOGITS, torch.full((5,), torch.nan), LOGITS])
    seeded = Sampling(1, temperature=1.0, seed=3)
    samplings = [Sampling(1), seeded, Sampling(1), Sampling(1, temperature=1.0)]
    found = sample(logits, [TokenSampler(sampling) for sampling in samplings])
    assert found[2] is None
    assert found[0] is not None and found[0].id == 0
    assert found[0].logprob == pytest.approx(float(LOGITS.log_softmax(0)[0]))
    assert found[1] is not None and found[1].id == TokenSampler(seeded).draw(LOGITS)
    assert found[1].logprob == pytest.approx(float(LOGITS.log_softmax(0)[found[1].id]))


def test_a_grammar_that_fails_leaves_the_other_rows_alone() -> None:
    """An endless recursion fails once its first token is consumed, not when it is compiled."""
    endless = {"type": "array", "items": {"$ref": "#"}, "minItems": 1}
    grammar = asyncio.run(GrammarCompiler(tiny_tokenizer()).compile(endless))
    logits = torch.zeros(3, 384)
    logits[:, 7] = 1.0
    failing = TokenSampler(Sampling(max_new_tokens=4, grammar=grammar))
    first, second, third = sample(
        logits,
        [
            TokenSampler(Sampling(max_new_tokens=4)),
            failing,
            TokenSampler(Sampling(max_new_tokens=4)),
        ],
    )
    assert isinstance(second, ConfigError) and "recursion" in second.what
    assert isinstance(first, Token) and isinstance(third, Token)
    assert (first.id, third.id) == (7, 7)
