"""The backbone that answers, for searchers that look into it: passes counted, none run twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cuecard.lazy import torch
from cuecard.search.budget import Amount
from cuecard.search.calls import CallAnswer, Calls
from cuecard.search.candidate import digest
from cuecard.tasks import TaskSpec
from cuecard.training.objective.loss import (
    PromptBatch,
    batch_losses,
    count_targets,
    resolve_loss,
)
from cuecard.types import Backbone, Encoded, Injection

if TYPE_CHECKING:
    from torch import Tensor

# Tokens of one pass: enough to fill a processor, and over in a few seconds.
_PASS_TOKENS = 2048


class SearchModel:
    """A backbone in this process, as a searcher uses it between two races.

    Args:
        backbone: an engine of it may still be at a request that nobody waits for.
        calls: of the search.
    """

    def __init__(self, backbone: Backbone, calls: Calls) -> None:
        self.backbone, self._calls = backbone, calls
        self._weights = backbone.fingerprint.weights

    async def counted(self, key: Any, amount: Amount, run: Callable[[], Any]) -> Any:
        """What `run` gives, as JSON knows it: from the journal if it was run before.

        A searcher goes on from what is returned alone, so that it does the same in every sitting.

        Args:
            key: all that the result depends on besides the model, as JSON.
            amount: what it runs: a call a row, and its tokens.

        Raises:
            BudgetSpent: there is not enough left for it.
        """

        async def made() -> CallAnswer:
            with self.backbone.lock:
                return CallAnswer(run(), amount)

        return await self._calls.make(digest([self._weights, key]), "backbone", amount, made)

    def losses(
        self, spec: TaskSpec, rows: Sequence[Encoded], prompts: Sequence[Injection]
    ) -> list[float]:
        """The mean training loss of every prompt on the same rows, many prompts a pass."""
        found: list[float] = []
        if not prompts:
            return found
        each = pass_tokens(rows, prompts[0].length)
        size = max(1, _PASS_TOKENS // each)
        with torch.no_grad():
            for start in range(0, len(prompts), size):
                losses = self._losses(spec, rows, prompts[start : start + size])
                found += [float(loss) for loss in losses]
        return found

    def loss(self, spec: TaskSpec, rows: Sequence[Encoded], prompt: Injection) -> Tensor:
        """The mean training loss of a prompt, with gradients to it."""
        return self._losses(spec, rows, [prompt])[0]

    def _losses(
        self, spec: TaskSpec, rows: Sequence[Encoded], prompts: Sequence[Injection]
    ) -> list[Tensor]:
        kind = resolve_loss("auto", spec, self.backbone)
        targets = count_targets(kind, spec, rows)
        parts = [PromptBatch(spec, rows, prompt, kind) for prompt in prompts]
        return [loss / targets for loss in batch_losses(self.backbone, parts)]


def pass_tokens(rows: Sequence[Encoded], length: int) -> int:
    """The tokens of rows with their targets and a prompt of so many vectors in each."""
    return sum(len(row.context) + len(row.target) + length for row in rows)
