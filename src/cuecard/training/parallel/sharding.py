"""A frozen backbone whose layers are sharded among the processes of a run (FSDP2).

PyTorch's `fully_shard` (Zhao et al. 2023, arXiv:2304.11277) leaves each process its part of every
layer's weights, gathers a layer before it runs, forward and backward, and lets go of it after.
Frozen weights have no gradients to be reduced, and the prompt stays outside: all processes have it.

A gather needs all processes, but they do not run the same layers at the same time: shares of a
batch differ, and the first process validates, tests and generates alone. So before each gather
every process says which layer it wants, or that it wants none because it has come to its next
exchange of something else. The first one that is wanted is then gathered by all, and they ask
again: no process has to know what another one runs.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cuecard.backbones.kernels.checkpointing import decoder_layers
from cuecard.errors import ConfigError
from cuecard.interrupts import unbroken
from cuecard.lazy import lazy_module, torch
from cuecard.training.parallel.ranks import Ranks

if TYPE_CHECKING:
    from torch import Tensor, nn

device_mesh = lazy_module("torch.distributed.device_mesh")
distributed = lazy_module("torch.distributed")
fsdp = lazy_module("torch.distributed.fsdp")
tensors = lazy_module("torch.distributed.tensor")

_NONE = -1


class ShardedLayers:
    """The layers of one model, of which every process holds its part.

    Args:
        ranks: the processes.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._layers: list[Any] = []
        self._agreed = False

    def place(self, model: nn.Module, device: torch.device) -> None:
        """Shard a frozen model's layers, one after the other, and put it on the device.

        From then on the processes' other exchanges wait for the layers'.

        Raises:
            BackboneError: its layers cannot be found.
            ConfigError: a device that the processes do not exchange weights on.
        """
        own = torch.device(self._ranks.device)
        if device.type != own.type:
            raise ConfigError(
                "weights are not sharded on this device",
                where="--shard-backbone",
                got=str(device),
                expected="a GPU for each process (--device auto or cuda), or --device cpu",
            )
        model.requires_grad_(False)
        config: Any = model.config
        layers: list[Any] = decoder_layers(model, int(config.get_text_config().num_hidden_layers))
        mesh = device_mesh.init_device_mesh(own.type, (self._ranks.size,))
        shard = partial(fsdp.fully_shard, mesh=mesh, reshard_after_forward=True)
        for number, layer in enumerate(layers):
            layer.register_forward_hook(_copy_views)  # before what gathers it for its gradient
            self._layers.append(shard(layer))
            layer.set_custom_all_gather(_Gather(self, number))
            # A gather that is begun ahead and not awaited could not be taken part in again.
            layer.set_modules_to_backward_prefetch([layer])
        whole = {parameter for parameter in model.parameters() if not _is_sharded(parameter)}
        shard(model, ignored_params=whole)
        model.to(device)
        for layer in self._layers:
            # Memory that is first used in inference mode could not be used outside of it.
            layer.unshard()
            layer.reshard()
        self._ranks.settling.append(self.settle)

    def settle(self) -> None:
        """Gather what others want until none wants a layer.

        Raises:
            TrainingError: another process was lost.
        """
        with unbroken():
            while (wanted := self._next(_NONE)) != _NONE:
                self._mirror(wanted)

    def gather(self, number: int, output: Tensor, own: Tensor, group: Any, wait: bool) -> Any:
        """Gather a layer once its turn has come.

        Args:
            own: this process's part of its weights.
            output: gets all of them.
            wait: until it is done; else what is returned can be waited for.

        Raises:
            Stop: Ctrl-C, after it.
            TrainingError: another process was lost.
        """
        with unbroken():
            while not self._agreed and (wanted := self._next(number)) != number:
                self._mirror(wanted)
            with self._ranks.exchanging(own.nbytes * (self._ranks.size - 1)):
                return distributed.all_gather_single(output, own, group=group, async_op=not wait)

    def _next(self, wanted: int) -> int:
        """The layer that comes next: of the first process that wants one."""
        every = self._ranks.numbers(wanted)
        return next((number for number in every if number != _NONE), _NONE)

    def _mirror(self, number: int) -> None:
        """Take part in a gather that others want."""
        layer = self._layers[number]
        in_use = not _is_sharded(next(layer.parameters()))
        if in_use:
            layer.reshard()
        self._agreed = True
        try:
            with self._computing():
                layer.unshard()
        finally:
            self._agreed = False
        if not in_use:
            layer.reshard()

    def _computing(self) -> AbstractContextManager[Any]:
        """On the stream that uses what is gathered: a layer's own gather runs beside it."""
        if self._ranks.device == "cpu":
            return nullcontext()
        found: AbstractContextManager[Any] = torch.cuda.stream(torch.cuda.default_stream())
        return found


@dataclass(frozen=True, slots=True)
class _Gather:
    """A layer's all-gather, as `fully_shard` calls it."""

    layers: ShardedLayers
    number: int

    def allocate(self, size: Any, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self, output_tensor: Tensor, input_tensor: Tensor, group: Any, async_op: bool = False
    ) -> Any:
        return self.layers.gather(
            self.number, output_tensor, input_tensor, group, wait=not async_op
        )


def _copy_views(module: nn.Module, inputs: Any, output: Any) -> Any:
    """What a layer gives, where that is a view as a tensor of its own.

    `fully_shard` gathers a layer's weights when the gradient of its output comes, and would not
    hear of that of a view that is changed in place.
    """
    if isinstance(output, tuple):
        return tuple(_copy_views(module, inputs, one) for one in output)
    is_view = isinstance(output, torch.Tensor) and output._base is not None
    return output.clone() if is_view and output.requires_grad else output


def _is_sharded(parameter: Tensor) -> bool:
    return isinstance(parameter, tensors.DTensor)
