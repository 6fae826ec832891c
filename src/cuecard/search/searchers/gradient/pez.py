"""A soft prompt that is trained at the words nearest to it (PEZ)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cuecard.lazy import np, torch
from cuecard.search.budget import Amount
from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.gradient.passes import Passes, passes_of
from cuecard.search.words.nearest_tokens import nearest_tokens
from cuecard.training.config import TrainConfig
from cuecard.training.optim import default_lr, make_optimizer
from cuecard.types import ParameterGroup

if TYPE_CHECKING:
    from torch import Tensor

_STEPS = 16


class PEZ:
    """Wen et al. 2023, "Hard Prompts Made Easy: Gradient-Based Discrete Optimization for Prompt
    Tuning and Discovery", algorithm 1.

        P' = nearest embeddings of P;  P <- P - lr * gradient of the loss at P'

    The optimiser is AdamW at the rate of prompt tuning here, begun anew each round.
    """

    def __init__(self) -> None:
        self._text: str | None = None
        self._vectors: str | None = None

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """The best texts that a few steps came by."""
        passes = passes_of(state, self._text)
        ids = passes.trigger.ids
        self._text = passes.trigger.text(ids)
        batches = [passes.draw(state.rng) for _ in range(_STEPS)]
        amount = passes.cost(batches[0], len(ids)) * _STEPS
        key = ["pez", passes.trigger.key, passes.settings.fluency, list(ids), batches]
        before = self._vectors
        found = await passes.trigger.model.counted(
            [*key, before], amount, lambda: _steps(passes, before, batches)
        )
        self._vectors = found["vectors"]
        # First those whose text is read in the same tokens: of the others the loss is not known.
        seen = [(not passes.trigger.is_text(ids), loss, ids) for ids, loss in found["seen"]]
        origin = f"pez, round {state.round + 1}"
        return [passes.trigger.candidate(ids, origin) for _, _, ids in sorted(seen)[:count]]

    def most(self, state: SearchState, count: int) -> Amount:
        """See `RunsModel.most`."""
        return passes_of(state, None).most * _STEPS


def _steps(passes: Passes, before: str | None, batches: Sequence[Sequence[int]]) -> dict[str, Any]:
    """The tokens that were nearest, each with its least loss, and the vectors at the end."""
    trigger, backbone = passes.trigger, passes.trigger.model.backbone
    start = trigger.vectors(trigger.ids).vectors
    start = start if before is None else _unpacked(before, start)
    vectors = torch.nn.Parameter(start.clone())
    config = TrainConfig()
    rate = default_lr(config, backbone.typical_inputs)
    group = ParameterGroup((vectors,))
    optimizer = make_optimizer(config, rate, [group], backbone.typical_inputs)
    seen: dict[tuple[int, ...], float] = {}
    for chosen in batches:
        ids = nearest_tokens(vectors, backbone.embeddings, trigger.allowed).ids
        loss, vectors.grad = passes.gradient(ids, chosen)
        seen[ids] = min(loss, seen.get(ids, loss))
        optimizer.step()
    return {"seen": [[list(ids), loss] for ids, loss in seen.items()], "vectors": _packed(vectors)}


def _packed(vectors: Tensor) -> str:
    """Vectors [P, H] float32 as text."""
    return base64.b64encode(vectors.detach().float().cpu().numpy().tobytes()).decode()


def _unpacked(text: str, like: Tensor) -> Tensor:
    """What `_packed` made, in the shape of others."""
    found = np.frombuffer(base64.b64decode(text), dtype=np.float32).copy()
    return torch.from_numpy(found).reshape(like.shape).to(like.device)
