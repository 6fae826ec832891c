"""The weights of an ONNX export of a torch module, under the names they have in torch.

Exports keep a module's path in two places: in the names of embeddings and norms, and in the names
of the matrix products, whose weights are named by a number. Dynamic quantisation
(onnxruntime.quantization) turns each weight into `q`, `scale` and `zero_point` per tensor, or a
product's per column, with value = (q - zero_point) * scale, and the products into MatMulInteger
nodes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cuecard.catalogue.weights.hub_folder import Floats
from cuecard.errors import CatalogueError
from cuecard.lazy import lazy_module

if TYPE_CHECKING:
    import onnx
    from onnx import numpy_helper
else:
    onnx = lazy_module("onnx")
    numpy_helper = lazy_module("onnx.numpy_helper")

_QUANTIZED = "_quantized"
_BESIDE = ("_scale", "_zero_point")
_PRODUCTS = ("MatMul", "MatMulInteger")
_NAMED = re.compile(r"\w+(\.\w+)+")


def onnx_weights(path: Path) -> dict[str, Floats]:
    """Every weight by its torch name, without the name of the module that was exported.

    Returns:
        float32; the weights of matrix products as torch's Linear holds them, [out, in].

    Raises:
        CatalogueError: a weight that is not quantised as said above.
    """
    whole = onnx_parameters(path).items()
    return {_inner(name): values for name, values in whole if name.endswith(".weight")}


def onnx_parameters(path: Path) -> dict[str, Floats]:
    """Every parameter by its torch name, as `onnx_weights` but biases too and whole names.

    Raises:
        CatalogueError: a weight that is not quantised as said above.
    """
    graph = onnx.load(path, load_external_data=False).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    found: dict[str, Floats] = {}
    for name in tensors:
        stem = name.removesuffix(_QUANTIZED)
        if _NAMED.fullmatch(stem) and not stem.endswith(_BESIDE):
            found[stem] = _values(name, tensors, path)
    for node in graph.node:
        if node.op_type in _PRODUCTS and node.input[1] in tensors:
            module = node.name.strip("/").rpartition("/")[0].replace("/", ".")
            product = _values(node.input[1], tensors, path, by_column=True)
            found[f"{module}.weight"] = product.T
    return found


def _inner(path: str) -> str:
    """The path below the exported module."""
    return path.partition(".")[2]


def _values(
    name: str, tensors: dict[str, onnx.TensorProto], path: Path, *, by_column: bool = False
) -> Floats:
    stem = name.removesuffix(_QUANTIZED)
    values = numpy_helper.to_array(tensors[name])
    if stem == name:
        return np.asarray(values, dtype=np.float32)
    parts = [tensors.get(f"{stem}_{part}") for part in ("zero_point", "scale")]
    if None in parts:
        raise CatalogueError(
            "a quantised weight without its zero point and scale", where=path.name, got=name
        )
    zero, scale = (numpy_helper.to_array(part) for part in parts if part is not None)
    each = values.shape[-1:] if by_column else ()
    if any(part.shape not in ((), each) for part in (zero, scale)):
        raise CatalogueError(
            "a weight that is quantised by channel", where=path.name, got=f"{name}, {scale.shape}"
        )
    whole: Floats = (values.astype(np.float32) - zero.astype(np.float32)) * scale
    return whole
