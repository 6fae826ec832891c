"""Where a training step's time goes, by kind of operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile

# Kinds in the order in which they are shown; what is named nowhere is "everything else": the
# interpreter, autograd's bookkeeping, views.
_KINDS = {
    "products with the weights": ("mm", "addmm", "addmm_"),
    "attention's products and softmax": (
        "bmm",
        "baddbmm",
        "baddbmm_",
        "_softmax",
        "_softmax_backward_data",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "elementwise": (
        "add",
        "add_",
        "div",
        "div_",
        "gelu",
        "gelu_backward",
        "linalg_vector_norm",
        "mean",
        "mul",
        "mul_",
        "native_layer_norm",
        "native_layer_norm_backward",
        "neg",
        "pow",
        "rsqrt_",
        "silu",
        "silu_backward",
        "square_",
        "sub_",
        "sum",
    ),
    "copies and gathers": (
        "_to_copy",
        "cat",
        "clone",
        "copy_",
        "embedding",
        "fill_",
        "index",
        "index_fill_",
        "index_put_",
        "index_select",
    ),
}
REST = "everything else"


def shares(step: Callable[[], Any], times: int = 4) -> dict[str, float]:
    """Kind of operation -> share of the main thread's time in `times` steps; they sum to 1."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(times):
            step()
    kind_of = {f"aten::{name}": kind for kind, names in _KINDS.items() for name in names}
    found = dict.fromkeys([*_KINDS, REST], 0.0)
    for event in seen.key_averages():
        found[kind_of.get(event.key, REST)] += event.self_cpu_time_total
    total = sum(found.values())
    return {kind: time / total for kind, time in found.items()}
