"""Prompts published as one numpy array, as google-research/prompt-tuning publishes them.

Those for T5 1.1 are [100, 768] float32 and stand in front of the encoder's input. An array names no
task and no backbone: both are what is given here, and from then on the prompt is bound to them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuecard.artifacts.prompt import Prompt
from cuecard.artifacts.safetensors_file import (
    MAX_TENSOR_BYTES,
    MAX_VECTORS,
    check_finite,
    read_plain_file,
)
from cuecard.errors import ArtifactError, WrongBackboneError
from cuecard.lazy import np, torch
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Encoded

if TYPE_CHECKING:
    from torch import Tensor


def import_npy(
    path: str | Path,
    backbone: Backbone,
    spec: TaskSpec,
    *,
    metrics: Mapping[str, Any] | None = None,
    probes: Sequence[Encoded] = (),
) -> Prompt:
    """A prompt from a .npy file of [P, H] numbers, for the front of the input.

    Args:
        path: the file; an array of objects, which is a pickle, is never opened.
        backbone: the model that the prompt was trained on.
        spec: the task that it was trained for.

    Raises:
        WrongBackboneError: the array's width is not the backbone's.
        ArtifactError: no array of finite numbers with P rows and H columns.
    """
    path = Path(path)
    vectors = _read(path)
    if vectors.shape[1] != backbone.hidden_size:
        raise WrongBackboneError(
            "the array was made for another backbone",
            where=str(path),
            got=f"{backbone.name}: {backbone.hidden_size} wide",
            expected=f"a backbone that is {vectors.shape[1]} wide",
        )
    return Prompt.create(
        vectors,
        backbone=backbone,
        spec=spec,
        method="prompt-tuning",
        method_config={"length": len(vectors), "slot": "prefix"},
        slot="prefix",
        metrics=metrics,
        probes=probes,
        created_with={"imported_from": "npy"},
    )


def _read(path: Path) -> Tensor:
    content = read_plain_file(path.parent, path.name, MAX_TENSOR_BYTES)
    try:
        # Not np.load, which opens archives of arrays too.
        found = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, MemoryError) as error:
        raise ArtifactError(
            "this is no array that can be read", where=str(path), got=str(error).split("\n")[0]
        ) from error
    plain = found.ndim == 2 and found.dtype.kind == "f"
    if not plain or not 1 <= len(found) <= MAX_VECTORS:
        raise ArtifactError(
            "the array is no prompt",
            where=str(path),
            got=f"shape {found.shape}, {found.dtype}",
            expected=f"1 to {MAX_VECTORS} rows of floats",
        )
    vectors = torch.from_numpy(np.array(found, dtype=np.float32))
    check_finite(vectors, str(path))
    return vectors
