"""Matrix products with weights packed beforehand for the processor's instructions.

oneDNN lays a plain weight out anew in every product. That is a tenth of a product with hundreds of
rows, and most of one with a few.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cuecard.backbones.kernels.fused import does_the_same

# Layouts differ by the number of rows that they are best for.
_ROWS = 512


def prepacked(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """A bfloat16 linear layer on a CPU with its weight laid out, a copy; None for anything else."""
    if type(module) is not nn.Linear or not _packs(module.weight):
        return None
    bias = module.bias
    weight = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach(), _ROWS)

    def forward(x: Tensor) -> Tensor:
        found = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return torch.as_tensor(found)

    # Sums in another order are rounded to other last bits.
    off = 2 * torch.finfo(torch.bfloat16).eps
    return forward if does_the_same(module, forward, module.weight, off) else None


def nbytes(model: nn.Module) -> int:
    """What `prepacked` would take for all of a model."""
    found = [m.weight for m in model.modules() if type(m) is nn.Linear and _packs(m.weight)]
    return sum(weight.numel() * weight.element_size() for weight in found)


def _packs(weight: Tensor) -> bool:
    return (
        weight.dtype == torch.bfloat16
        and weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )
