"""What a run trains, whatever it is: a prompt by one of the methods, or a LoRA adapter."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cuecard.tasks import Task, TaskSpec
from cuecard.training.config import TrainConfig
from cuecard.training.optim import default_lr
from cuecard.training.trainables.capabilities import (
    check_head,
    check_places,
    check_slot,
    check_supported,
    is_late,
    leaves_front,
)
from cuecard.training.trainables.head import start_head
from cuecard.training.trainables.initial_method import new_method
from cuecard.training.trainables.own_rate import check_one_rate, own_rate
from cuecard.training.trainables.word_head import check_word_head, word_head
from cuecard.types import Backbone, Head, Method, MethodConfig, Slot

if TYPE_CHECKING:
    from torch import Tensor


class Trainable(Protocol):
    """What a run trains: a prompt by some method, or a LoRA adapter.

    Attributes:
        name: what the log calls it.
        slot: where the prompt is.
        parts: what of it a resumed run must have in common with the one it resumes, by name.
        changes_layers: whether what the backbone makes of an input changes with every step.
        reads_names: whether what a tower makes of the labels' names is the task's head.
    """

    @property
    def name(self) -> str: ...

    @property
    def slot(self) -> Slot: ...

    @property
    def parts(self) -> Mapping[str, Any]: ...

    @property
    def changes_layers(self) -> bool: ...

    @property
    def reads_names(self) -> bool: ...

    def check(self, backbone: Backbone, task: Task, config: TrainConfig) -> None:
        """
        Raises:
            ConfigError: settings that contradict the backbone, the task or each other.
        """
        ...

    def build(self, backbone: Backbone, task: Task, config: TrainConfig) -> Method:
        """Its first parameters, with the task's head if it has one; the same for the same seed."""
        ...

    def default_lr(self, backbone: Backbone, config: TrainConfig) -> float:
        """The peak learning rate where none is given."""
        ...

    def leaves_inputs(self, backbone: Backbone, spec: TaskSpec) -> bool:
        """Whether the inputs are computed without what is trained, so that they can be cached."""
        ...

    def attached(self, method: Method) -> AbstractContextManager[None]:
        """Let the backbone run with what is trained, beside the injection."""
        ...


@dataclass(frozen=True)
class TrainablePrompt:
    """A prompt that one of the methods trains.

    Attributes:
        method: its settings.
        head: what a task's head starts from; zeros by default.
    """

    method: MethodConfig
    head: Head | None = None

    @property
    def name(self) -> str:
        """The method's."""
        return self.method.name

    @property
    def slot(self) -> Slot:
        """The method's."""
        return self.method.slot

    @property
    def changes_layers(self) -> bool:
        """No."""
        return False

    @property
    def reads_names(self) -> bool:
        """Of vectors around these."""
        return "labels" in self.method.requires

    @property
    def parts(self) -> Mapping[str, Any]:
        """The method with its settings, and what it starts from."""
        start = [_hash_tensor(tensor) for tensor in self.method.warm_start]
        settings = self.method.model_dump(mode="json")
        return {"method": {"name": self.method.name, "start": start, **settings}}

    def check(self, backbone: Backbone, task: Task, config: TrainConfig) -> None:
        """
        Raises:
            ConfigError: an injection that the backbone does not take, a template without its slot,
                or two learning rates.
        """
        check_one_rate(self.method, config.lr)
        check_supported(backbone, self.method)
        check_slot(self.method, task.spec)
        check_head(backbone, task.spec, self.method)
        if config.head_start == "words":
            check_word_head(backbone, task.spec)

    def build(self, backbone: Backbone, task: Task, config: TrainConfig) -> Method:
        """See `new_method`.

        Raises:
            ConfigError: a length that is not that of the template's places, or a head that cannot
                start from words.
        """
        spec = task.spec
        method = new_method(backbone, spec, self.method, config.seed, config.head_peak, task.train)
        check_places(self.method, method.injection(), spec)
        if self.head is not None:
            start_head(method, self.head)
        elif config.head_start == "words":
            start_head(method, word_head(backbone, spec, task.train))
        return method

    def default_lr(self, backbone: Backbone, config: TrainConfig) -> float:
        """The method's, or the optimiser's."""
        own, usual = own_rate(self.method), default_lr(config, backbone.typical_inputs)
        if "text" not in backbone.takes and self.method.rate not in self.method.model_fields_set:
            seen = self.method.rate_for_images(usual)
            own = own if seen is None else float(f"{seen:.3g}")
        return usual if own is None else own

    def leaves_inputs(self, backbone: Backbone, spec: TaskSpec) -> bool:
        """Where the prompt follows the input, or at least text that inputs begin with."""
        return is_late(backbone, self.method, spec) or leaves_front(backbone, self.method)

    def attached(self, method: Method) -> AbstractContextManager[None]:
        """Nothing beside the injection."""
        return nullcontext()


def _hash_tensor(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()
