"""Instructions of a few tokens that a policy learns to write from rewards (RLPrompt)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cuecard.backbones import CausalBackbone
from cuecard.errors import ConfigError
from cuecard.lazy import np
from cuecard.search.budget import Amount
from cuecard.search.candidate import PromptCandidate
from cuecard.search.costs import of_longer
from cuecard.search.model import SearchModel
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.black_box.policy import Ids, TokenPolicy, writing_cost
from cuecard.search.searchers.writing import with_instruction
from cuecard.search.solver import EngineSolver, Likelihood
from cuecard.search.words.nearest_tokens import readable_tokens
from cuecard.types import Backbone, Record

if TYPE_CHECKING:
    from torch import Tensor

# Prompts of a step, the rows that they are scored on, and steps between two races.
_PROMPTS, _ROWS, _STEPS = 16, 16, 10
# What a prompt's gap between the right label and the next weighs where it is right, and where not.
_RIGHT, _WRONG = 200.0, 180.0
# What a standard deviation of rewards is worth.
_SCALE = 5.0
# The paper's 5e-5 is for 12,000 steps; here there are some hundreds at most.
_RATE = 3e-3


class RLPrompt:
    """Soft Q-learning of a policy that writes instructions token by token.

    Deng et al. 2022, "RLPrompt: Optimizing Discrete Text Prompts with Reinforcement Learning"
    (EMNLP), section 2: the piecewise reward of classification, as z-scores over the prompts of a
    step. For texts the reward goes by the likelihood of a token of the right one. The policy reads
    the states of a causal model, by default of the one that answers; what it writes goes to that as
    text.
    """

    def __init__(self) -> None:
        self._policy: TokenPolicy | None = None
        self._step = 0
        self._gaps: dict[str, list[float]] = {}

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """What the policy finds likeliest after some more steps, and what had most reward.

        It stops while these can still race.
        """
        backbone, length = _model_of(state).backbone, state.settings.written_tokens
        if self._policy is None:
            seed = int(state.rng.integers(2**31))
            self._policy = TokenPolicy(backbone, allowed_tokens(backbone, state.train), seed, _RATE)
        step, likeliest_cost = _costs(state)
        for _ in range(_STEPS):
            if self._gaps and not state.affords(step + likeliest_cost):
                break
            self._step += 1
            await self._learn(state, self._policy, length)
        likeliest = await self._written(state, self._policy, 1, length, None)
        best = sorted(self._gaps, key=lambda text: float(np.mean(self._gaps[text])), reverse=True)
        known = {racer.candidate.key for racer in state.ranked}
        texts = dict.fromkeys([*_texts(backbone, likeliest), *best])
        made = [with_instruction(state.start, text, f"step {self._step}") for text in texts]
        return [each for each in made if each.key not in known][:count]

    def most(self, state: SearchState, count: int) -> Amount:
        """See `RunsModel.most`; its texts may be read in twice as many tokens as it writes."""
        step, likeliest = _costs(state)
        return step * _STEPS + likeliest

    async def _learn(self, state: SearchState, policy: TokenPolicy, length: int) -> None:
        """Write some prompts, and learn from what they are worth on some rows."""
        assert isinstance(state.solver, EngineSolver)
        settings = state.settings
        seed, rows = int(state.rng.integers(2**31)), state.sample(settings.step_rows or _ROWS)
        prompts = await self._written(state, policy, settings.population or _PROMPTS, length, seed)
        texts = _texts(_model_of(state).backbone, prompts)
        tried = [with_instruction(state.start, text, "") for text in texts]
        found = await state.solver.likelihoods(tried, rows)
        rewards = [reward(each) for each in found]
        for text, each in zip(texts, rewards, strict=True):
            self._gaps.setdefault(text, []).append(each)
        policy.learn(prompts, z_scores(rewards))

    async def _written(
        self, state: SearchState, policy: TokenPolicy, count: int, length: int, seed: int | None
    ) -> list[Ids]:
        """As `TokenPolicy.write`, within the budget and once."""
        model = _model_of(state)
        found = await model.counted(
            ["rlprompt", self._step, seed],
            writing_cost(model.backbone.tokenizer, count, length),
            lambda: policy.write(count, length, seed),
        )
        return [tuple(ids) for ids in found]


def _costs(state: SearchState) -> tuple[Amount, Amount]:
    """What a step takes at most, and what the likeliest prompt does."""
    tokenizer, length = _model_of(state).backbone.tokenizer, state.settings.written_tokens
    prompts = state.settings.population or _PROMPTS
    prompt = with_instruction(state.start, " the" * length, "")
    rows = state.longest(prompt, state.settings.step_rows or _ROWS)
    answered = of_longer(state.solver.most(prompt, rows), prompts)
    return answered + writing_cost(tokenizer, prompts, length), writing_cost(tokenizer, 1, length)


def _model_of(state: SearchState) -> SearchModel:
    """What the policy reads.

    Raises:
        ConfigError: a model that cannot write.
    """
    assert state.policy is not None  # what it needs
    backbone = state.policy.backbone
    check_writes(backbone, f"--searcher rlprompt, backbone {backbone.name}")
    return state.policy


def check_writes(backbone: Backbone, where: str) -> None:
    """Refuse a model that cannot write.

    Raises:
        ConfigError: with where it was given.
    """
    if not isinstance(backbone, CausalBackbone):
        raise ConfigError(
            "the policy of this searcher is a causal language model",
            where=where,
            got=type(backbone.model).__name__,
            expected="a causal language model, with --policy if the backbone is another",
        )


def reward(found: Sequence[Likelihood]) -> float:
    """The mean over rows of the gap between what is right and the next, in weighted points."""
    gaps = [
        math.exp(each.right) - (0.0 if each.other is None else math.exp(each.other))
        for each in found
    ]
    return float(np.mean([gap * (_RIGHT if gap > 0 else _WRONG) for gap in gaps]))


def z_scores(rewards: Sequence[float]) -> list[float]:
    """The rewards of a step's prompts as the policy learns from them."""
    spread = float(np.std(rewards))
    mean = float(np.mean(rewards))
    return [_SCALE * (each - mean) / spread if spread else 0.0 for each in rewards]


def _texts(backbone: Backbone, prompts: Sequence[Ids]) -> list[str]:
    found = [str(backbone.tokenizer.decode(list(ids))) for ids in prompts]
    return [text.strip() for text in found]


def allowed_tokens(backbone: Backbone, records: Sequence[Record] = ()) -> Tensor:
    """[V] bool, the tokens that a prompt may have: see `readable_tokens`."""
    size = len(backbone.model.get_output_embeddings().weight)
    return readable_tokens(backbone.tokenizer, size, records)
