"""What writes prompts and learns from rewards: a frozen language model with a network of its own.

Sizes: n prompts of T tokens, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cuecard.lazy import functional, nn, torch
from cuecard.search.budget import Amount
from cuecard.tasks import collate
from cuecard.tasks.encoding.tokens import leading_ids
from cuecard.types import Backbone, Encoded, Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

Ids = tuple[int, ...]

# The reference code's: the network's width, the gain of its last weights, so that all tokens are
# nearly alike at first, and of how many tokens the next one is drawn.
_WIDTH, _GAIN, _TOP = 2048, 1e-4, 256
# How fast the target follows. The reference code's 0.001 leaves it where it began for hundreds of
# steps, in which no reward is told from the size of the vocabulary.
_POLYAK = 0.2
# Of how many rows of the head one is looked at for its size.
_EACH = 16


class TokenPolicy:
    """Q(token | tokens before) = LM head(MLP(state)), learnt by soft Q-learning.

    Deng et al. 2022, "RLPrompt: Optimizing Discrete Text Prompts with Reinforcement Learning"
    (EMNLP), section 2.3; Guo et al. 2021 (arXiv:2106.07704), section 3, for the losses.

    Args:
        backbone: a causal language model.
        allowed: [V] bool, the tokens that may be written.
        seed: of the network's first weights.
        rate: Adam's.
    """

    def __init__(self, backbone: Backbone, allowed: Tensor, seed: int, rate: float) -> None:
        self._backbone, self._barred = backbone, ~allowed.to(backbone.device)
        self._head = backbone.model.get_output_embeddings()
        weight = self._head.weight
        # Outputs of size one make logits of size one, whatever the size of the head's weights.
        self._scale = 1 / (weight.shape[1] * weight[::_EACH].float().square().mean()).sqrt()
        self._start = _start(backbone.tokenizer)
        draw = torch.Generator().manual_seed(seed)
        self._weights: list[Tensor] = []
        for outputs, inputs, gain in (
            (_WIDTH, backbone.hidden_size, 1.0),
            (backbone.hidden_size, _WIDTH, _GAIN),
        ):
            made = nn.init.xavier_uniform_(torch.empty(outputs, inputs), gain, generator=draw)
            self._weights += [each.to(backbone.device) for each in (made, torch.zeros(outputs))]
        self._target = [weight.clone() for weight in self._weights]
        for weight in self._weights:
            weight.requires_grad_()
        self._adam = torch.optim.Adam(self._weights, rate)

    def write(self, count: int, length: int, seed: int | None) -> list[Ids]:
        """Prompts of so many tokens, drawn by a seed; the likeliest one without."""
        draw = None if seed is None else torch.Generator().manual_seed(seed)
        prompts: list[Ids] = [()] * count
        with torch.no_grad():
            for _ in range(length):
                rows = [(Encoded((*self._start, *ids), ()), ()) for ids in prompts]
                batch = collate(rows, read="next")
                found = self._backbone.read(batch, None, keep="states").states()
                top = (
                    self._q(found, self._weights).cpu().topk(min(_TOP, int((~self._barred).sum())))
                )
                place = torch.zeros(count, 1, dtype=torch.int64)
                if draw is not None:
                    place = torch.multinomial(top.values.softmax(-1), 1, generator=draw)
                chosen = top.indices.gather(1, place).flatten().tolist()
                prompts = [(*ids, token) for ids, token in zip(prompts, chosen, strict=True)]
        return prompts

    def learn(self, prompts: Sequence[Ids], rewards: Sequence[float]) -> None:
        """One step on prompts of one length and their rewards."""
        states = self._states(prompts)
        given = torch.tensor(rewards, dtype=torch.float32, device=states.device)
        with torch.no_grad():
            later = self._q(states, self._target).logsumexp(-1)
        q = self._q(states, self._weights)
        tokens = torch.tensor(prompts, device=states.device)
        advantages = q.gather(2, tokens[:, :, None])[:, :, 0] - q.logsumexp(-1)
        loss = path_loss(advantages, later, given)
        self._adam.zero_grad()
        torch.autograd.backward(loss)
        self._adam.step()
        with torch.no_grad():
            for target, weight in zip(self._target, self._weights, strict=True):
                target.lerp_(weight, _POLYAK)

    def _states(self, prompts: Sequence[Ids]) -> Tensor:
        """[n, T, H] what the model makes of all that comes before each token."""
        batch = collate([(Encoded(self._start, ()), ids) for ids in prompts])
        with torch.no_grad():
            found = self._backbone.read(batch, None, keep="states").states()
        return found.reshape(len(prompts), -1, found.shape[1])

    def _q(self, states: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """[..., V] float32, -inf for tokens that may not be written."""
        first, first_bias, second, second_bias = weights
        inner = functional.linear(functional.rms_norm(states, states.shape[-1:]), first, first_bias)
        made = functional.linear(inner.relu(), second, second_bias) * self._scale
        found: Tensor = self._head(made.to(self._backbone.dtype)).float()
        return found.masked_fill(self._barred, float("-inf"))


def writing_cost(tokenizer: Tokenizer, count: int, length: int) -> Amount:
    """What it takes to write so many prompts and to learn from them."""
    start = len(_start(tokenizer))
    written = sum(start + step for step in range(length))
    return Amount(count * (length + 1), count * (written + start + length - 1))


def path_loss(advantages: Tensor, values: Tensor, rewards: Tensor) -> Tensor:
    """How far a policy is from being consistent along whole prompts.

    The mean of the squares of two errors (Guo et al. 2021, equations 8 and 10): of each step,
    A_t - (V'_{t+1} - V'_t), with the reward in place of V' after the last one; and of the steps
    from each to the last together, sum_{l >= t} A_l - (r - V'_t).

    Args:
        advantages: [n, T] A_t = Q(token t) - V_t.
        values: [n, T] V'_t, of the target network, without gradients.
        rewards: [n].
    """
    after = torch.cat([values[:, 1:], rewards[:, None]], 1)
    steps = advantages - (after - values)
    left = advantages.flip(1).cumsum(1).flip(1) - (rewards[:, None] - values)
    return (steps.square().mean() + left.square().mean()) / 2


def _start(tokenizer: Tokenizer) -> Ids:
    """What stands before the first token."""
    return leading_ids(tokenizer) or (int(tokenizer.eos_token_id or 0),)
