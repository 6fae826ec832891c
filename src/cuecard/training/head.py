"""A head trained beside a prompt, and what it learns from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from cuecard.lazy import functional, nn, torch
from cuecard.tasks import TaskSpec
from cuecard.types import Encoded, Head, Injection, Method, ParameterGroup

if TYPE_CHECKING:
    from torch import Tensor


class Headed:
    """A method with a linear head on the hidden states that are read.

    The head starts from zeros: every label is as likely as any, and the first step moves the head
    alone, for no gradient passes through zeros to the method.

    Args:
        method: what makes the injection.
        outputs: K.
        width: H, the backbone's hidden size.
        lr: the head's own peak learning rate.
    """

    def __init__(self, method: Method, outputs: int, width: int, lr: float) -> None:
        self._method, self._lr = method, lr
        self._weight = nn.Parameter(torch.zeros(outputs, width))
        self._bias = nn.Parameter(torch.zeros(outputs))

    def head(self) -> Head:
        """The head, with gradients to its parameters."""
        return Head(self._weight, self._bias)

    def parameters(self) -> Iterable[nn.Parameter]:
        """The method's and the head's."""
        return chain(self._method.parameters(), (self._weight, self._bias))

    def groups(self) -> Sequence[ParameterGroup]:
        """The method's, then the head's."""
        return [*self._method.groups(), ParameterGroup((self._weight, self._bias), self._lr)]

    def injection(self) -> Injection:
        """The method's."""
        return self._method.injection()

    def penalty(self) -> Tensor | None:
        """The method's."""
        return self._method.penalty()

    def state_dict(self) -> dict[str, Any]:
        """The method's state and the head's numbers."""
        head = {"weight": self._weight.detach(), "bias": self._bias.detach()}
        return {"method": self._method.state_dict(), "head": head}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """What `state_dict` gave."""
        self._method.load_state_dict(state_dict["method"])
        with torch.no_grad():
            self._weight.copy_(state_dict["head"]["weight"])
            self._bias.copy_(state_dict["head"]["bias"])


def head_of(method: Method) -> Head | None:
    """A method's head; None for one without."""
    return method.head() if isinstance(method, Headed) else None


def head_loss(spec: TaskSpec, rows: Sequence[Encoded], outputs: Tensor) -> Tensor:
    """The summed loss of a head's outputs [N, K] at the rows' reads.

    Classification and tags: cross-entropy over the labels, of each row or word. Labels of which
    several hold: binary cross-entropy, the mean over the labels. A number: the squared error of the
    standardised target. An answer's ends: the mean of both ends' cross-entropies over the tokens of
    the row and "not here" (Devlin et al. 2019, arXiv:1810.04805, section 4.3).
    """
    outputs = outputs.float()
    if spec.kind == "extractive-qa":
        parts = torch.split(outputs, [len(row.at) for row in rows])
        ends = [
            functional.cross_entropy(part.T, _numbers(row.goal, outputs), reduction="sum") / 2
            for part, row in zip(parts, rows, strict=True)
        ]
        return torch.stack(ends).sum()
    if spec.kind in ("classification", "tagging"):
        goals = [number for row in rows for number in row.goal]
        return functional.cross_entropy(outputs, _numbers(goals, outputs), reduction="sum")
    wanted = torch.tensor([row.goal for row in rows], device=outputs.device)
    if spec.kind == "regression":
        return functional.mse_loss(outputs, wanted, reduction="sum")
    each = functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="none")
    return each.mean(1).sum()


def _numbers(goals: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor([int(goal) for goal in goals], device=like.device)
