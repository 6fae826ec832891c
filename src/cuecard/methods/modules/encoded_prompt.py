"""The free embeddings and the encoder that P-tuning trains. See `methods/p_tuning.py`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cuecard.methods.fitting import fitted
from cuecard.methods.p_tuning import PTuning
from cuecard.types import InputTokens, ParameterGroup

_LSTM_LAYERS = 2


class EncodedPrompt(nn.Module):
    """Free embeddings [P, H] and the encoder that makes vectors [P, H] of them."""

    def __init__(self, settings: PTuning, vectors: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        width = vectors.shape[1]
        hidden = settings.hidden or width
        with torch.random.fork_rng(devices=[]):  # new modules draw from torch's global state
            self.lstm, self.inner, self.last = _modules(settings.encoder, width, hidden)
        self._draw(generator)
        # A unit normal, as nn.Embedding has it: distinct enough to be told apart by the encoder.
        self.free = nn.Parameter(torch.randn(vectors.shape, generator=generator))
        with torch.no_grad():
            weight, bias = fitted(self._features(), vectors.cpu())
            self.last.weight.copy_(weight)
            self.last.bias.copy_(bias)
        self.to(vectors.device)

    def groups(self) -> tuple[ParameterGroup, ...]:
        """The free embeddings at the optimiser's default rate, the encoder at the run's."""
        weights = tuple(p for p in self.parameters() if p is not self.free)
        return ParameterGroup((self.free,), "embeddings"), ParameterGroup(weights)

    def injection(self) -> InputTokens:
        """The encoder's output."""
        return InputTokens(self.last(self._features()))

    def penalty(self) -> Tensor | None:
        """None."""
        return None

    def _features(self) -> Tensor:
        """[P, hidden] what the last layer sees."""
        free = self.free if self.lstm is None else self.lstm(self.free[None])[0][0]
        return torch.as_tensor(self.inner(free))

    def _draw(self, generator: torch.Generator) -> None:
        """torch's own inits, from this generator: uniform within 1 / sqrt(fan in)."""
        modules: list[nn.Module] = [*self.inner, self.last]
        for module in modules:
            if isinstance(module, nn.Linear):
                _uniform(module, 1 / math.sqrt(module.in_features), generator)
        if self.lstm is not None:
            _uniform(self.lstm, 1 / math.sqrt(self.lstm.hidden_size), generator)


def _modules(
    encoder: str, width: int, hidden: int
) -> tuple[nn.LSTM | None, nn.Sequential, nn.Linear]:
    """What stands before the last layer, and the last layer."""
    if encoder == "mlp":
        inner = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        return None, inner, nn.Linear(hidden, width)
    half = hidden // 2
    lstm = nn.LSTM(width, half, _LSTM_LAYERS, bidirectional=True, batch_first=True)
    inner = nn.Sequential(nn.Linear(2 * half, 2 * half), nn.ReLU())
    return lstm, inner, nn.Linear(2 * half, width)


def _uniform(module: nn.Module, bound: float, generator: torch.Generator) -> None:
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
