"""The size of a model's weights, quantised layers included."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def quantized_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The quantised layers' tensors by name: what `named_parameters` does not tell of."""
    from cuecard.backbones.quantization.linear import QuantizedLinear  # noqa: PLC0415 - it needs torch

    return {
        f"{name}.{part}": tensor
        for name, module in model.named_modules()
        if isinstance(module, QuantizedLinear)
        for part, tensor in module.named_buffers()
    }


def own_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor that is sharded among several; else the tensor."""
    found: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return found


def weight_bytes(model: nn.Module) -> int:
    """Bytes of a model's parameters and quantised weights as they are held."""
    held = [*model.parameters(), *quantized_buffers(model).values()]
    return sum(own_part(tensor).nbytes for tensor in held)


def weight_count(model: nn.Module) -> int:
    """A model's parameters, one for a quantised weight whatever its bits."""
    from cuecard.backbones.quantization.linear import QuantizedLinear  # noqa: PLC0415 - it needs torch

    layers = [module for module in model.modules() if isinstance(module, QuantizedLinear)]
    quantized = sum(layer.in_features * layer.out_features for layer in layers)
    biases = sum(layer.bias.numel() for layer in layers if layer.bias is not None)
    return sum(p.numel() for p in model.parameters()) + quantized + biases
