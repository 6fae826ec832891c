"""Full tuning: every matrix of the model, in the prompts' own loop, and then as it was again.

Masters in float32, which the model sees rounded to its own precision: steps of 5e-5 would be lost
between two bfloat16 numbers. Gains and biases, one weight in a few thousand, stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cuecard.backbones.adapters.adapter import NO_ADAPTER
from cuecard.errors import ConfigError
from cuecard.lazy import nn
from cuecard.tasks import Task, TaskSpec
from cuecard.training.config import TrainConfig
from cuecard.training.trainables.capabilities import check_head
from cuecard.training.trainables.head import Headed, start_head
from cuecard.training.trainables.model_weights import ModelWeights
from cuecard.training.trainables.word_head import check_word_head, word_head
from cuecard.types import Backbone, Injection, Method, Slot

if TYPE_CHECKING:
    from torch import Tensor

FULL_LR = 5e-5


class Masters(ModelWeights):
    """float32 copies of a model's matrices, on which it runs while they are `attached`.

    Args:
        inside: the part of the model whose matrices they are; all of it by default.
    """

    def __init__(self, backbone: Backbone, inside: nn.Module | None = None) -> None:
        places: dict[int, list[tuple[nn.Module, str]]] = {}
        originals: dict[int, nn.Parameter] = {}
        for module in (inside or backbone.model).modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and parameter.ndim > 1:
                    places.setdefault(id(parameter), []).append((module, name))  # tied ones: two
                    originals[id(parameter)] = parameter
        self._places, self._originals = list(places.values()), list(originals.values())
        self._on = False
        copies = [nn.Parameter(p.detach().float().clone()) for p in self._originals]
        super().__init__(nn.ParameterList(copies), backbone.hidden_size)

    @property
    def nbytes(self) -> int:
        """Bytes of the matrices in the model's own precision."""
        return sum(original.nbytes for original in self._originals)

    def injection(self) -> Injection:
        """No vectors; attached, the model now runs on these weights, with gradients to them."""
        if self._on:
            for places, original, master in zip(
                self._places, self._originals, self.parameters(), strict=True
            ):
                _put(places, master.to(original.dtype))
        return super().injection()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Let the model run with them, from the next injection on; then it has its own again."""
        self._on = True
        try:
            yield
        finally:
            self._on = False
            for places, original in zip(self._places, self._originals, strict=True):
                _put(places, original)


@dataclass(frozen=True)
class TrainableModel:
    """Every matrix of a model, or of a part of it.

    Attributes:
        weights: which ones, for what tells one run from another.
        inside: finds the part; None for all of the model.
    """

    weights: str = "every matrix"
    inside: Callable[[Backbone], nn.Module] | None = None
    name = "full"
    slot: Slot = "prefix"
    changes_layers = True
    reads_names = False

    @property
    def parts(self) -> Mapping[str, Any]:
        """Which weights."""
        return {"weights": self.weights}

    def check(self, backbone: Backbone, task: Task, config: TrainConfig) -> None:
        """
        Raises:
            ConfigError: weights that are quantised or adapted, `lr="auto"`, a template with a place
                for a prompt, or masks to find.
        """
        check_head(backbone, task.spec, None)
        if config.head_start == "words":
            check_word_head(backbone, task.spec)
        found = backbone.fingerprint
        refused = {
            "a segmentation model": task.spec.mode == "pixels",
            f"weights in the form {found.quantize}": found.quantize != "none",
            "weights with an adapter": found.adapter != NO_ADAPTER,
            "a learning rate that is found by trials": config.lr == "auto",
            "a template with a place for a prompt": task.spec.parsed.has_prompt,
        }
        for got, is_so in refused.items():
            if is_so:
                raise ConfigError(
                    "full tuning trains plain weights alone",
                    where=backbone.name,
                    got=got,
                    expected="the plain backbone, and a template without {prompt}",
                )

    def build(self, backbone: Backbone, task: Task, config: TrainConfig) -> Method:
        """The matrices as they are, and the task's head if it has one."""
        masters = Masters(backbone, None if self.inside is None else self.inside(backbone))
        if task.spec.mode != "head":
            return masters
        trained = Headed(masters, task.spec.outputs, backbone.hidden_size, config.head_peak)
        if config.head_start == "words":
            start_head(trained, word_head(backbone, task.spec, task.train))
        return trained

    def default_lr(self, backbone: Backbone, config: TrainConfig) -> float:
        """5e-5."""
        return FULL_LR

    def leaves_inputs(self, backbone: Backbone, spec: TaskSpec) -> bool:
        """No: every layer changes."""
        return False

    def attached(self, method: Method) -> AbstractContextManager[None]:
        """The model runs with them."""
        return masters_of(method).attached()


def masters_of(method: Method) -> Masters:
    """The matrices in training, without a head."""
    masters = method.inner if isinstance(method, Headed) else method
    assert isinstance(masters, Masters)
    return masters


def again(backbone: Backbone) -> Backbone:
    """Another backbone of the same model, for other weights.

    What a backbone has found out of frozen modules does not hold with others: its fast path, for
    one, makes no gradients to them.
    """
    made: Any = type(backbone)
    found: Backbone = made(backbone.model, backbone.tokenizer, backbone.name)
    return found


def _put(places: Sequence[tuple[nn.Module, str]], weight: Tensor) -> None:
    # As torch.func.functional_call does: a tensor with a history cannot be set as a parameter.
    for module, name in places:
        module._parameters[name] = weight  # type: ignore[assignment]
