"""A head trained beside a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from cuecard.lazy import nn, torch
from cuecard.training.objective.held import HeldTo
from cuecard.types import (
    Anchored,
    Averaged,
    HasLabelTower,
    Head,
    Injection,
    LabelTokens,
    Method,
    Noisy,
    ParameterGroup,
    TokenTfidf,
    by_tower,
)

if TYPE_CHECKING:
    from torch import Tensor


class Headed:
    """A method with a linear head on the hidden states that are read.

    The head starts from zeros: every label is as likely as any, and the first step moves the head
    alone, for no gradient passes through zeros to the method. A pooled head reads the hidden states
    alone until the training is over.

    Args:
        method: what makes the injection.
        outputs: K.
        width: H, the backbone's hidden size.
        lr: the head's own peak learning rate; None for the run's.
    """

    def __init__(self, method: Method, outputs: int, width: int, lr: float | None) -> None:
        self._method, self._lr = method, lr
        self._layers: tuple[int, ...] = ()
        self._tfidf: TokenTfidf | None = None
        self._weight = nn.Parameter(torch.zeros(outputs, width))
        self._bias = nn.Parameter(torch.zeros(outputs))

    @property
    def inner(self) -> Method:
        """The method without the head."""
        return self._method

    def head(self) -> Head:
        """The head, with gradients to its parameters."""
        return Head(self._weight, self._bias, self._layers, self._tfidf)

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
        return {"method": self._method.state_dict(), "head": _state_of(self.head())}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """What `state_dict` gave."""
        self._method.load_state_dict(state_dict["method"])
        head = state_dict["head"]
        self._layers = tuple(head["layers"].tolist()) if "layers" in head else ()
        self._tfidf = TokenTfidf(head["ids"], head["idf"]) if "ids" in head else None
        with torch.no_grad():
            if self._weight.shape != head["weight"].shape:  # as it is after the training
                self._weight = nn.Parameter(head["weight"].clone())
            self._weight.copy_(head["weight"])
            self._bias.copy_(head["bias"])


class HeadedByLabels:
    """A method of vectors around labels' names, whose head is what a tower makes of these.

    Args:
        method: what makes the injection, with a piece for that tower.
        backbone: has the tower.
        names: the labels', in their order.
    """

    def __init__(self, method: Method, backbone: HasLabelTower, names: Sequence[str]) -> None:
        self._method, self._backbone, self._names = method, backbone, names

    @property
    def inner(self) -> Method:
        """The method without the head."""
        return self._method

    def head(self, injection: Injection | None = None) -> Head:
        """The head, with gradients to the method's parameters.

        Args:
            injection: the method's, where it is made already.
        """
        tokens = by_tower(injection or self._method.injection())["labels"]
        assert isinstance(tokens, LabelTokens)
        return self._backbone.label_head(self._names, tokens)

    def frozen_head(self, templates: Sequence[str]) -> Head:
        """What the frozen tower makes of the same names in these templates."""
        return self._backbone.ensembled_head(self._names, templates)

    def parameters(self) -> Iterable[nn.Parameter]:
        """The method's."""
        return self._method.parameters()

    def groups(self) -> Sequence[ParameterGroup]:
        """The method's."""
        return self._method.groups()

    def injection(self) -> Injection:
        """The method's."""
        return self._method.injection()

    def penalty(self) -> Tensor | None:
        """The method's."""
        return self._method.penalty()

    def state_dict(self) -> dict[str, Any]:
        """The method's."""
        return self._method.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """What `state_dict` gave."""
        self._method.load_state_dict(state_dict)


def drawn_injection(method: Method, draw: tuple[int, ...]) -> Injection:
    """A method's injection for a pass of training, with what it leaves out then.

    Args:
        draw: decides what that is.
    """
    inner = _inner(method)
    if isinstance(inner, Averaged):
        return inner.latest_injection()
    return inner.noisy_injection(draw) if isinstance(inner, Noisy) else inner.injection()


def head_of(method: Method, injection: Injection | None = None) -> Head | None:
    """A method's head; None for one without.

    Args:
        injection: the method's own, or the one of a pass of training that the head goes with.
    """
    if isinstance(method, HeadedByLabels):
        return method.head(injection)
    return method.head() if isinstance(method, Headed) else None


def follow_step(method: Method, step: int, steps: int) -> None:
    """Let a method that is averaged over its run take in what a step of so many left."""
    inner = _inner(method)
    if isinstance(inner, Averaged):
        inner.follow(step, steps)


def held_to(method: Method) -> HeldTo | None:
    """The frozen model that a method is held to; None for one that is not.

    Raises:
        BackboneError: a name that is too long in one of the templates.
    """
    inner = _inner(method)
    if not isinstance(method, HeadedByLabels) or not isinstance(inner, Anchored):
        return None
    return HeldTo(inner.anchor, method.frozen_head(inner.anchor.templates))


def _inner(method: Method) -> Method:
    return method.inner if isinstance(method, Headed | HeadedByLabels) else method


def start_head(method: Method, head: Head) -> None:
    """Let a method's head start from these numbers."""
    assert isinstance(method, Headed)
    method.load_state_dict({"method": method.inner.state_dict(), "head": _state_of(head)})


def _state_of(head: Head) -> dict[str, Tensor]:
    """A head's numbers, and the layers and tokens if it reads any."""
    numbers = {"weight": head.weight.detach(), "bias": head.bias.detach()}
    if head.layers:
        numbers["layers"] = torch.tensor(head.layers)
    if head.tfidf is not None:
        numbers |= {"ids": head.tfidf.ids, "idf": head.tfidf.idf}
    return numbers
