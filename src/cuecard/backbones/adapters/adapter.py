"""LoRA adapters: low-rank updates of a frozen model's matrices, merged into them once.

Hu et al. (2021, arXiv:2106.09685, section 4.1): W + s B A, with A [R, I], B [O, R] and the scale
s = alpha / R; rsLoRA (Kalajdzievski, 2023, arXiv:2312.03732) has alpha / sqrt(R). Merged, the model
is a plain one of its own architecture, and everything that is fast on it stays so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cuecard.backbones.adapters.target_modules import Targets
from cuecard.errors import AdapterError
from cuecard.lazy import lazy_module, nn, no_grad, torch

if TYPE_CHECKING:
    from torch import Tensor

_layers = lazy_module("transformers.pytorch_utils")

NO_ADAPTER = "none"
_SHOWN = 3  # modules named in a message


@dataclass(frozen=True, slots=True)
class Update:
    """One matrix's update.

    Attributes:
        down: A [R, I] float32.
        up: B [O, R] float32.
        scale: s.
    """

    down: Tensor
    up: Tensor
    scale: float

    @property
    def nbytes(self) -> int:
        """Bytes of A and B."""
        return int(self.down.nbytes + self.up.nbytes)

    def delta(self) -> Tensor:
        """s B A, [O, I] float32."""
        return self.scale * (self.up @ self.down)


@dataclass(frozen=True, slots=True)
class Adapter:
    """The updates of a model.

    Attributes:
        where: its folder, for messages.
        updates: by the module's name in the model.
        targets: which modules its settings mean.
    """

    where: str
    updates: Mapping[str, Update]
    targets: Targets

    @property
    def digest(self) -> str:
        """SHA-256 of what it does: names, scales and numbers, whatever files they come from."""
        total = hashlib.sha256(b"cuecard LoRA 1")
        for name, update in sorted(self.updates.items()):
            total.update(f"|{name}|{float(update.scale).hex()}".encode())
            for matrix in (update.down, update.up):
                plain = matrix.detach().to("cpu", torch.float32).contiguous()
                total.update(f"|{tuple(plain.shape)}|".encode())
                total.update(plain.numpy().astype("<f4").tobytes())
        return total.hexdigest()


def adaptable(model: Any) -> dict[str, nn.Module]:
    """The linear layers that an adapter may change, by name: all but the LM head."""
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | _layers.Conv1D) and module is not head
    }


@no_grad
def merge(model: Any, adapter: Adapter) -> None:
    """Add every update to its matrix, in float32, rounded once to the matrix's own type.

    Nothing is changed where anything does not fit.

    Raises:
        AdapterError: the adapter was made for another model.
    """
    modules = adaptable(model)
    check_fits(modules, adapter, type(model).__name__)
    for name, update in adapter.updates.items():
        module: Any = modules[name]
        delta = update.delta()
        if isinstance(module, _layers.Conv1D):
            delta = delta.T
        weight: Tensor = module.weight
        weight.copy_(weight.float() + delta.to(weight.device))


def check_fits(modules: Mapping[str, nn.Module], adapter: Adapter, kind: str) -> None:
    """Raises AdapterError unless the file's updates are exactly those of the targeted modules."""
    unknown = sorted(set(adapter.updates) - set(modules))
    if unknown:
        raise _misfit(
            adapter,
            f"{_names(unknown)}, which {kind} does not have, or not as a linear layer",
            "linear layers other than the LM head",
        )
    wanted = {name for name in modules if adapter.targets.match(name)}
    if missing := sorted(wanted - set(adapter.updates)):
        raise _misfit(adapter, f"nothing for {_names(missing)}", "every module in target_modules")
    if beside := sorted(set(adapter.updates) - wanted):
        raise _misfit(adapter, f"{_names(beside)}, not in target_modules", "those modules alone")
    # In the model's order: the file's own may differ from run to run, and so would the message.
    for name in (name for name in modules if name in wanted):
        module: Any = modules[name]
        update = adapter.updates[name]
        shape = tuple(module.weight.shape)
        wide = shape[::-1] if isinstance(module, _layers.Conv1D) else shape
        found = len(update.up), update.down.shape[1]
        if found != wide:
            raise _misfit(
                adapter,
                f"an update of {found[0]} x {found[1]} for {name}",
                f"{wide[0]} x {wide[1]}",
            )
        if any(other is not module and _shares(other, module) for other in modules.values()):
            raise _misfit(adapter, f"{name}, whose matrix is another's too", "a matrix of its own")


def _shares(one: Any, other: Any) -> bool:
    return one.weight is other.weight


def _misfit(adapter: Adapter, got: str, expected: str) -> AdapterError:
    return AdapterError(
        "the adapter does not fit this model",
        where=adapter.where,
        got=got,
        expected=expected,
        hint="was it made for another base model?",
    )


def _names(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
