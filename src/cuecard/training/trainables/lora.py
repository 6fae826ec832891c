"""A LoRA adapter in training: low-rank updates beside frozen matrices, in the prompts' own loop.

Hu et al. (2021, arXiv:2106.09685, section 4.1): y = W x + s B A x, with B zero at the start and A
drawn as PEFT draws it (Kaiming uniform). The updates are added by hooks on the model's own layers,
which therefore stay the layers that the fast path knows, and are gone when the hooks are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from cuecard.backbones.adapters.adapter import Adapter, Update, adaptable, merge
from cuecard.backbones.adapters.peft_folder import MAX_RANK
from cuecard.backbones.adapters.target_modules import ALL_LINEAR, Targets
from cuecard.errors import ConfigError
from cuecard.lazy import functional, lazy_module, nn, torch
from cuecard.training.trainables.model_weights import ModelWeights
from cuecard.types import Backbone, Injection

if TYPE_CHECKING:
    from torch import Tensor

_layers = lazy_module("transformers.pytorch_utils")

LORA_LR = 5e-4


def _named(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class LoraSettings(BaseModel):
    """What is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=8, ge=1, le=MAX_RANK, description="Rank of every update.")
    alpha: float = Field(
        default=16.0,
        gt=0,
        allow_inf_nan=False,
        description="Updates are scaled by alpha over the rank.",
    )
    targets: Annotated[
        Literal["all-linear"] | tuple[str, ...], BeforeValidator(_named), Field(min_length=1)
    ] = Field(
        default="all-linear",
        description="Names or last parts of names of linear layers, separated by commas, such as "
        "q_proj,v_proj. all-linear is all but the head.",
    )
    rslora: bool = Field(
        default=False,
        description="Scale by alpha over the square root of the rank (rsLoRA). Rank-stabilised "
        "scaling: Kalajdzievski, 2023, arXiv:2312.03732.",
    )

    @property
    def scale(self) -> float:
        """s."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


class Lora(ModelWeights):
    """An adapter as what a `Trainer` trains.

    Args:
        backbone: its model gets the updates while they are `attached`.
        injection: of a prompt that is added to every input and not trained; None for none.
        seed: of the start.

    Raises:
        ConfigError: targets that are no linear layers of this model.
    """

    def __init__(
        self, backbone: Backbone, settings: LoraSettings, injection: Injection | None, seed: int
    ) -> None:
        self._settings = settings
        self._modules = _chosen(backbone, settings)
        generator = torch.Generator().manual_seed(seed)
        down, up = [], []
        for module in self._modules.values():
            wide, narrow = _widths(module)
            start = torch.empty(settings.rank, narrow)
            nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=generator)
            down.append(nn.Parameter(start.to(backbone.device)))
            up.append(nn.Parameter(torch.zeros(wide, settings.rank, device=backbone.device)))
        self._down, self._up = nn.ParameterList(down), nn.ParameterList(up)
        trained = nn.ModuleDict({"down": self._down, "up": self._up})
        super().__init__(trained, backbone.hidden_size, injection)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Let the model run with the updates for a while."""
        pairs = zip(self._down, self._up, strict=True)
        handles = [
            module.register_forward_hook(_adding(down, up, self._settings.scale))
            for module, (down, up) in zip(self._modules.values(), pairs, strict=True)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def adapter(self, where: str) -> Adapter:
        """The updates as they are now.

        Args:
            where: what to call the place they are from, in messages.
        """
        scale = self._settings.scale
        triples = zip(self._modules, self._down, self._up, strict=True)
        updates = {name: Update(_copy(down), _copy(up), scale) for name, down, up in triples}
        return Adapter(where, updates, Targets(where, tuple(self._modules)))

    @property
    def transposed(self) -> bool:
        """Whether its matrices are held as [I, O], as GPT-2's are."""
        return any(isinstance(module, _layers.Conv1D) for module in self._modules.values())


@contextmanager
def merged(backbone: Backbone, adapter: Adapter) -> Iterator[None]:
    """The backbone as it is loaded with the adapter, for a while; then its own bytes again.

    Raises:
        AdapterError: the adapter does not fit the model.
    """
    shown: Any = backbone
    before = backbone.fingerprint
    kept = {
        name: backbone.model.get_submodule(name).weight.detach().to("cpu", copy=True)
        for name in adapter.updates
    }
    try:
        merge(backbone.model, adapter)
        shown.fingerprint = replace(before, adapter=adapter.digest)
        yield
    finally:
        shown.fingerprint = before
        with torch.no_grad():
            for name, weight in kept.items():
                backbone.model.get_submodule(name).weight.copy_(weight)


def _copy(half: Tensor) -> Tensor:
    return half.detach().to("cpu", copy=True)


def _adding(down: nn.Parameter, up: nn.Parameter, scale: float) -> Any:
    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = inputs[0]
        narrow = functional.linear(x, down.to(x.dtype))
        return output + scale * functional.linear(narrow, up.to(x.dtype))

    return add


def _chosen(backbone: Backbone, settings: LoraSettings) -> dict[str, nn.Module]:
    modules = adaptable(backbone.model)
    wanted = Targets("targets", settings.targets)
    found = {name: module for name, module in modules.items() if wanted.match(name)}
    given = () if settings.targets == ALL_LINEAR else settings.targets
    unmet = [one for one in given if not any(Targets("", (one,)).match(n) for n in modules)]
    if unmet or not found:
        lasts = sorted({name.rpartition(".")[2] for name in modules})
        raise ConfigError(
            "no linear layer of the backbone is called that",
            where="targets",
            got=", ".join(unmet) or str(settings.targets),
            expected=f"all-linear, or some of {', '.join(lasts)}" if lasts else "linear layers",
        )
    return found


def _widths(module: Any) -> tuple[int, int]:
    """(O, I)"""
    first, second = module.weight.shape
    return (
        (int(second), int(first))
        if isinstance(module, _layers.Conv1D)
        else (int(first), int(second))
    )
