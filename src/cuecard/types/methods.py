"""What a method is asked for, and what it starts from.

Sizes: P prompt vectors, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from cuecard.lazy import torch
from cuecard.types.injections import Injection, InjectionKind, Slot, Tower
from cuecard.types.protocols import States
from cuecard.types.towers import Patches

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class NamesContext:
    """What a method may know of the tower that reads labels' names.

    Attributes:
        embeddings: [V, H] the tower's embedding matrix.
        encode: text -> token ids, without special tokens.
        names: the labels', in their order.
        layers: how many layers the tower has.
        width: D of the space where images and names meet; asking for it runs the tower once.
    """

    embeddings: Tensor
    encode: Callable[[str], list[int]]
    names: tuple[str, ...]
    layers: int
    width: Callable[[], int]


@dataclass(frozen=True, slots=True)
class InitContext:
    """What a method may know when it makes its first parameters.

    Attributes:
        embeddings: [V, H] the backbone's input embedding matrix.
        encode: text -> token ids, without special tokens.
        special_ids: ids that no prompt should start from.
        labels: the token ids of the task's label words; empty for text-to-text.
        text: a sentence about the task, for a prompt that starts from text.
        generator: the only source of randomness.
        states: vectors [T, H] among the input embeddings -> what the backbone makes of them.
        layers: L.
        towers: the same matrix of every tower, `Backbone.tower_embeddings`.
        patches: those of a few training images; None for a backbone that sees none, or no images.
        names: the tower that reads labels' names; None without one.
    """

    embeddings: Tensor
    encode: Callable[[str], list[int]]
    special_ids: frozenset[int]
    labels: tuple[tuple[int, ...], ...]
    text: str
    generator: torch.Generator
    states: Callable[[Tensor], States]
    layers: int
    towers: Mapping[Tower, Tensor] = field(default_factory=dict)
    patches: Patches | None = None
    names: NamesContext | None = None

    @property
    def sees(self) -> bool:
        """Whether it is a vision encoder, whose embeddings are no words'."""
        return "vision" in self.towers


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that learn at one rate.

    Attributes:
        lr: their peak learning rate. None takes the run's: what the method chiefly learns with.
            "embeddings" takes the optimiser's default, which suits vectors among embeddings.
    """

    parameters: tuple[torch.nn.Parameter, ...]
    lr: float | Literal["embeddings"] | None = None


class Method(Protocol):
    """Trainable parameters that yield an injection."""

    def parameters(self) -> Iterable[torch.nn.Parameter]: ...

    def groups(self) -> Sequence[ParameterGroup]:
        """The same parameters by learning rate; one group or more at the run's."""
        ...

    def injection(self) -> Injection:
        """The injection, with gradients to this method's parameters."""
        ...

    def penalty(self) -> Tensor | None:
        """A scalar that training adds to the loss; None for none."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


@runtime_checkable
class Noisy(Protocol):
    """A method that leaves something out in training, and nothing afterwards."""

    def noisy_injection(self, draw: tuple[int, ...]) -> Injection:
        """The injection, with what the numbers draw left out; the same for the same numbers."""
        ...


@runtime_checkable
class Averaged(Protocol):
    """A method that is an average of what it was on the way; its `injection` is that of it."""

    def follow(self, step: int, steps: int) -> None:
        """Take in what a step of so many left."""
        ...

    def latest_injection(self) -> Injection:
        """The injection of the parameters as they are, with gradients to them."""
        ...


@dataclass(frozen=True, slots=True)
class Anchor:
    """The frozen model that a method of two towers is held to, beside what it learns.

    Attributes:
        templates: what labels' names stand in there, each with {label}.
        text, image, logits: weights of the distances of names' vectors, of images' vectors and of
            the answers.
    """

    templates: tuple[str, ...]
    text: float
    image: float
    logits: float


@runtime_checkable
class Anchored(Protocol):
    """A method that is held to the frozen model."""

    @property
    def anchor(self) -> Anchor: ...


class MethodConfig(Protocol):
    """A method's settings; `build` makes the method.

    Attributes:
        name: what users call the method.
        rate: the setting that is the peak learning rate it chiefly learns with, where the run gives
            none; None takes the optimiser's default.
        reads_words: whether it needs a vocabulary, which a vision encoder has not.
        requires: the kinds of injections that it puts into each tower, with these settings.
        warm_start: a trained prompt's tensors to start from, which `model_dump` leaves out.
        model_fields_set: the settings that were given.
    """

    name: ClassVar[str]
    rate: ClassVar[str | None]
    reads_words: ClassVar[bool]

    @property
    def model_fields_set(self) -> set[str]: ...

    @property
    def requires(self) -> Mapping[Tower, tuple[InjectionKind, ...]]: ...

    @property
    def slot(self) -> Slot: ...

    @property
    def warm_start(self) -> tuple[Tensor, ...]: ...

    def rate_for_images(self, usual: float) -> float | None:
        """What that rate is for images where the setting is not given; None for the setting's own.

        Args:
            usual: the optimiser's default.
        """
        ...

    def build(self, context: InitContext) -> Method: ...

    def model_dump(self, *, mode: str) -> dict[str, Any]: ...
