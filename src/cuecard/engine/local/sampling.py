"""Sample tokens from logits, greedily or at random, each row with its own parameters.

A draw depends on the row's logits and seed alone, whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from cuecard.engine.protocol import Sampling, Token
from cuecard.errors import BackboneError, ConfigError, CuecardError

# Sorting a whole vocabulary takes milliseconds; the likeliest few hold `top_p` almost always.
_LIKELIEST = 256


class TokenSampler:
    """How one answer's tokens are chosen.

    Attributes:
        top_logprobs: how many of the likeliest tokens are reported at each place.

    Args:
        ends: tokens that end the answer; a grammar allows them where the text is complete.
    """

    def __init__(self, sampling: Sampling, ends: Collection[int] = ()) -> None:
        self._sampling = sampling
        self._ends = list(ends)
        self._guide = None if sampling.grammar is None else sampling.grammar.guide()
        self.top_logprobs = sampling.top_logprobs
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn at all."""
        return self._sampling.temperature > 0

    @property
    def constrained(self) -> bool:
        """Whether a grammar leaves out tokens."""
        return self._guide is not None

    @property
    def finished(self) -> bool:
        """Whether the text is complete and nothing may follow it."""
        return self._guide is not None and self._guide.finished

    def constrain(self, logits: Tensor) -> Tensor:
        """Logits [V] with those of tokens that may not come next at minus infinity.

        Raises:
            CuecardError: the grammar is too complex, or allows no token of this vocabulary.
        """
        if self._guide is None:
            return logits
        allowed = self._guide.allowed(len(logits))
        ends = [end for end in self._ends if end < len(logits)]
        allowed[ends] = self._guide.accepting
        if not bool(allowed.any()):
            raise ConfigError(
                "no token of this tokenizer can continue the constrained output",
                where="response_format",
            )
        return logits.masked_fill(~allowed.to(logits.device), -torch.inf)

    def took(self, token: int) -> None:
        """The answer goes on with this token, or ends with it.

        Raises:
            CuecardError: the grammar is too complex.
        """
        if self._guide is not None and token not in self._ends:
            self._guide.accept(token)

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
        # Rounding may put the point at the very end; the last token with a share is meant then.
        last = int(torch.searchsorted(ends, ends[-1]))
        place = min(int(torch.searchsorted(ends, point, right=True)), last)
        return place if ids is None else int(ids[place])


def sample(logits: Tensor, samplers: Sequence[TokenSampler]) -> list[Token | CuecardError | None]:
    """A token per row of logits [n, V]; None where logits are not finite.

    A row whose grammar fails gets its error, and the others go on.
    """
    wide = logits.float()
    norms = wide.logsumexp(-1)
    picked = wide.argmax(-1)
    finite = torch.isfinite(norms).tolist()
    failed: dict[int, CuecardError] = {}
    for row, sampler in enumerate(samplers):
        if not finite[row] or not (sampler.draws or sampler.constrained):
            continue
        try:
            left = sampler.constrain(wide[row])
        except CuecardError as error:
            failed[row] = error
            continue
        picked[row] = sampler.draw(left) if sampler.draws else left.argmax()
    logs = wide.gather(1, picked[:, None])[:, 0] - norms
    tops = _top(wide, norms, [sampler.top_logprobs for sampler in samplers])
    chosen = zip(samplers, picked.tolist(), logs.tolist(), finite, tops, strict=True)
    found: list[Token | CuecardError | None] = []
    for row, (sampler, token, log, known, top) in enumerate(chosen):
        if row in failed or not known:
            found.append(failed.get(row))
            continue
        found.append(_taken(sampler, Token(token, log, top)))
    return found


def _taken(sampler: TokenSampler, token: Token) -> Token | CuecardError:
    """The token, or why the row's grammar cannot go on after it."""
    try:
        sampler.took(token.id)
    except CuecardError as error:
        return error
    return token


def _top(wide: Tensor, norms: Tensor, counts: Sequence[int]) -> list[tuple[tuple[int, float], ...]]:
    """Per row its likeliest tokens with log-probabilities, as many as it asks for."""
    most = min(max(counts, default=0), wide.shape[1])
    if not most:
        return [()] * len(counts)
    values, ids = (wide - norms[:, None]).topk(most)
    rows = zip(ids.tolist(), values.tolist(), counts, strict=True)
    return [tuple(zip(row[:count], logs[:count], strict=True)) for row, logs, count in rows]


def _likeliest(shares: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The fewest tokens that hold `top_p` together, likeliest first: shares and ids."""
    found = shares.topk(min(_LIKELIEST, len(shares)))
    ordered, ids = found.values, found.indices
    if float(ordered.sum()) < top_p:
        ordered, ids = shares.sort(descending=True, stable=True)
    # A token counts while those before it hold less than `top_p`; the first always does.
    count = max(1, int((ordered.cumsum(0) - ordered < top_p).sum()))
    return ordered[:count], ids[:count]


def not_finite(where: str) -> BackboneError:
    """A prompt and an input that the backbone makes no numbers of."""
    return BackboneError(
        "this prompt and input give no finite scores",
        where=where,
        got="NaN or infinity",
        expected="a prompt trained for this backbone",
    )
