"""The shared prompt of multitask prompt tuning, from which new tasks start.

The folder is an adapter that PEFT reads as MULTITASK_PROMPT_TUNING (in the prefix slot of a causal
model), with `shared.json` beside it: the tasks' names, the backbone's fingerprint, and digests of
the other files. Formula and paper: `methods/mpt.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from cuecard.artifacts.adapter_config import adapter_config
from cuecard.artifacts.files import (
    MAX_JSON_BYTES,
    MAX_TENSOR_BYTES,
    PEFT_FILE,
    SHARED_FILE,
    TENSOR_FILE,
    publish_folder,
    read_plain_file,
)
from cuecard.artifacts.manifest import TensorEntry
from cuecard.artifacts.prompt_backbone import PromptBackbone, check_backbone
from cuecard.artifacts.safetensors_file import (
    TENSOR_NAME,
    check_finite,
    parse_tensors,
    tensor_file,
)
from cuecard.artifacts.sealed import Sealed, Sha256
from cuecard.artifacts.tensors import TASK_COLUMNS, TASK_ROWS, LazyTensors, arrays_of
from cuecard.errors import ArtifactError
from cuecard.methods.mpt import mean_start
from cuecard.plain_files import parse_json
from cuecard.types import Backbone, Slot

if TYPE_CHECKING:
    from torch import Tensor

_RANKS: Final = {TENSOR_NAME: 2, TASK_COLUMNS: 3, TASK_ROWS: 3}


class SharedManifest(Sealed):
    """The content of `shared.json`.

    Attributes:
        tasks: the source tasks' names, in the order of their factors.
        slot: where the prompts went.
        seed: the run's.
        adapter_config_sha256: of `adapter_config.json`; None where PEFT has no such form.
    """

    schema_version: Literal[1] = 1
    kind: Literal["multitask"] = "multitask"
    tasks: tuple[str, ...] = Field(min_length=1)
    slot: Slot
    seed: int
    backbone: PromptBackbone
    tensors: dict[str, TensorEntry]
    adapter_config_sha256: Sha256 | None = None


@dataclass(frozen=True, eq=False)
class SharedPrompt:
    """P* [P, H] and the factors u [K, P, 1] and v [K, 1, H] of K tasks, float32 on the CPU.

    Make one with `create` or `load`.
    """

    tensors: Mapping[str, Tensor]
    manifest: SharedManifest

    @classmethod
    def create(
        cls,
        vectors: Tensor,
        columns: Tensor,
        rows: Tensor,
        *,
        tasks: Sequence[str],
        backbone: Backbone,
        slot: Slot,
        seed: int,
    ) -> SharedPrompt:
        """Copy P* [P, H], u [K, P] and v [K, H] of tasks with these names.

        Raises:
            ArtifactError: NaN or infinity among them.
        """
        given = {TENSOR_NAME: vectors, TASK_COLUMNS: columns[..., None], TASK_ROWS: rows[:, None]}
        tensors = {
            name: tensor.detach().float().cpu().clone().contiguous()
            for name, tensor in given.items()
        }
        arrays = arrays_of(tensors)
        for array in arrays.values():
            check_finite(array, "the trained vectors")
        entry = PromptBackbone.of(backbone)
        peft = _peft(tensors, entry, slot, len(tasks))
        manifest = SharedManifest(
            tasks=tuple(tasks),
            slot=slot,
            seed=seed,
            backbone=entry,
            tensors={name: TensorEntry.of(array) for name, array in arrays.items()},
            adapter_config_sha256=None if peft is None else hashlib.sha256(peft).hexdigest(),
        )
        return cls(tensors, manifest)

    @classmethod
    def load(cls, folder: str | Path, backbone: Backbone | None = None) -> SharedPrompt:
        """Read a folder that `save` made.

        Args:
            backbone: the model to use it with; without one, only the files are checked.

        Raises:
            WrongBackboneError: it was made for another backbone.
            ArtifactError: anything missing, altered or malformed.
        """
        folder = Path(folder)
        where = str(folder / SHARED_FILE)
        content = read_plain_file(folder, SHARED_FILE, MAX_JSON_BYTES)
        manifest = SharedManifest.of_document(parse_json(content, where), where)
        if backbone is not None:
            check_backbone(manifest.backbone, backbone, where)
        content = read_plain_file(folder, TENSOR_FILE, MAX_TENSOR_BYTES)
        arrays = parse_tensors(content, str(folder / TENSOR_FILE), _RANKS)
        found = {name: TensorEntry.of(array) for name, array in arrays.items()}
        if found != manifest.tensors:
            raise ArtifactError(
                "the tensors are not the ones that were saved",
                where=str(folder / TENSOR_FILE),
                got=", ".join(f"{n} {array.shape}" for n, array in arrays.items()),
                expected=f"those of {SHARED_FILE}",
            )
        tensors = LazyTensors(arrays)
        _check_shapes(tensors, len(manifest.tasks), where)
        return cls(tensors, manifest)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the folder in one step.

        Raises:
            ArtifactError: the folder holds something else, or cannot be written.
        """
        folder = Path(folder).absolute()
        manifest = self.manifest
        document = {"digest": self.digest, **manifest.model_dump(mode="json")}
        contents = {
            SHARED_FILE: (json.dumps(document, indent=1) + "\n").encode(),
            TENSOR_FILE: tensor_file(arrays_of(self.tensors), {"format": "pt"}),
        }
        peft = _peft(self.tensors, manifest.backbone, manifest.slot, len(manifest.tasks))
        if peft is not None:
            contents[PEFT_FILE] = peft
        publish_folder(folder, contents, overwrite=overwrite)
        return folder

    def start(self) -> Tensor:
        """[P, H] P* o mean_k (u_k (x) v_k), from which a new task starts."""
        columns, rows = self.tensors[TASK_COLUMNS], self.tensors[TASK_ROWS]
        return mean_start(self.tensors[TENSOR_NAME], columns[..., 0], rows[:, 0])

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return self.manifest.digest


def shared_folder(path: str | Path) -> Path | None:
    """The folder of a multitask run that a new task starts from, or the path itself if it is one.

    None for anything else.
    """
    for folder in (Path(path), Path(path) / "shared"):
        if (folder / SHARED_FILE).is_file():
            return folder
    return None


def _peft(
    tensors: Mapping[str, Tensor], entry: PromptBackbone, slot: Slot, tasks: int
) -> bytes | None:
    return adapter_config(
        slot,
        {TENSOR_NAME: tensors[TENSOR_NAME]},
        num_layers=entry.num_layers,
        backbone=entry.name,
        task_type=entry.peft_task,
        peft_type="MULTITASK_PROMPT_TUNING",
        tasks=tasks,
    )


def _check_shapes(tensors: Mapping[str, Tensor], tasks: int, where: str) -> None:
    length, width = tensors[TENSOR_NAME].shape
    found = tuple(tensors[TASK_COLUMNS].shape), tuple(tensors[TASK_ROWS].shape)
    wanted = (tasks, length, 1), (tasks, 1, width)
    if found != wanted:
        raise ArtifactError(
            "the factors do not fit the prompt or the tasks",
            where=where,
            got=f"{found[0]} and {found[1]}",
            expected=f"{wanted[0]} and {wanted[1]}",
        )
