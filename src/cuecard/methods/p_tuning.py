"""P-tuning: the prompt's vectors come out of an encoder over free embeddings.

Formula: P = MLP(BiLSTM(e)), e in R^{P x H} free ("lstm"); or P = MLP(e) ("mlp").
Paper: Liu et al., "GPT Understands, Too" (2021, arXiv:2103.10385), section 3.2. Reference code:
THUDM/P-tuning, `LAMA/p_tuning/prompt_encoder.py`: two layers of LSTM, H / 2 wide each way, then two
linear layers with a ReLU between. The "mlp" encoder is PEFT's, three linear layers.

A fresh encoder gives vectors of no particular place or size. Here its last layer is fitted by
least squares, so that the prompt begins at the init's vectors (to rounding, while it is no longer
than the encoder is wide). The encoder is gone at export: what is saved is P.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cuecard.methods.fitting import fitted
from cuecard.methods.start import StartSettings
from cuecard.types import InitContext, InputTokens, ParameterGroup

_LSTM_LAYERS = 2


class PTuning(StartSettings):
    """Settings of P-tuning.

    Attributes:
        encoder: "mlp" or "lstm".
        hidden: the encoder's inner width; None takes the backbone's width. An even number for the
            LSTM, half of it each way.
        weights_lr: the peak learning rate of the encoder; the free embeddings take the run's.
    """

    name: ClassVar[str] = "p-tuning"
    about: ClassVar[str] = "vectors that an MLP or LSTM makes of free embeddings"

    encoder: Literal["mlp", "lstm"] = "mlp"
    hidden: int | None = Field(default=None, ge=2, le=16384)
    weights_lr: float = Field(default=1e-4, gt=0, allow_inf_nan=False)

    def build(self, context: InitContext) -> EncodedPrompt:
        """Make the encoder and what goes into it.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        return EncodedPrompt(self, self.start(context), context.generator)


class EncodedPrompt(nn.Module):
    """Free embeddings [P, H] and the encoder that makes vectors [P, H] of them."""

    def __init__(self, settings: PTuning, vectors: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        width = vectors.shape[1]
        hidden = settings.hidden or width
        self._lr = settings.weights_lr
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
        """The free embeddings at the run's rate, the encoder at its own."""
        weights = tuple(p for p in self.parameters() if p is not self.free)
        return ParameterGroup((self.free,)), ParameterGroup(weights, self._lr)

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
