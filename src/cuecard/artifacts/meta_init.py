"""A meta-learned start of prompts: one safetensors file that says what it was learnt on.

The tensor is in the file's body; a sealed document in its header's metadata names the backbone and
the tasks, and holds the tensor's digest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from cuecard.artifacts.files import MAX_TENSOR_BYTES, publish_file
from cuecard.artifacts.manifest import TensorEntry
from cuecard.artifacts.prompt_backbone import PromptBackbone, check_backbone
from cuecard.artifacts.safetensors_file import (
    TENSOR_NAME,
    parse_metadata,
    parse_tensors,
    tensor_file,
)
from cuecard.artifacts.sealed import Sealed
from cuecard.artifacts.tensors import LazyTensors, arrays_of
from cuecard.errors import ArtifactError
from cuecard.plain_files import parse_json, read_bytes
from cuecard.types import Backbone

if TYPE_CHECKING:
    from torch import Tensor

_KEY = "cuecard_meta_init"


class MetaInitManifest(Sealed):
    """What a start was learnt on.

    Attributes:
        tasks: the tasks' names.
        settings: how it was learnt.
        rounds: how many outer steps were made.
    """

    schema_version: Literal[1] = 1
    backbone: PromptBackbone
    tasks: tuple[str, ...] = Field(min_length=1)
    settings: dict[str, str | int | float | None]
    rounds: int = Field(ge=0)
    tensor: TensorEntry


@dataclass(frozen=True)
class MetaInit:
    """A start, and what it was learnt on.

    Attributes:
        vectors: [P, H] float32.
    """

    vectors: Tensor
    manifest: MetaInitManifest

    @classmethod
    def create(
        cls,
        vectors: Tensor,
        backbone: Backbone,
        tasks: Sequence[str],
        settings: dict[str, Any],
        rounds: int,
    ) -> MetaInit:
        """A start that was learnt on a backbone."""
        kept = vectors.detach().float().cpu().clone()
        (array,) = arrays_of({TENSOR_NAME: kept}).values()
        manifest = MetaInitManifest(
            backbone=PromptBackbone.of(backbone),
            tasks=tuple(tasks),
            settings=settings,
            rounds=rounds,
            tensor=TensorEntry.of(array),
        )
        return cls(kept, manifest)

    @classmethod
    def load(cls, path: str | Path) -> MetaInit:
        """Read a file that `save` made.

        Raises:
            ArtifactError: no such file, or one that is altered or something else.
        """
        where = str(path)
        try:
            content = read_bytes(Path(path), MAX_TENSOR_BYTES, "meta-learned start")
        except FileNotFoundError as error:
            raise ArtifactError(
                "there is no meta-learned start",
                where=where,
                got="no such file",
                expected="a file that `cuecard meta-init` wrote",
            ) from error
        arrays = parse_tensors(content, where, {TENSOR_NAME: 2})
        document = parse_metadata(content, where).get(_KEY)
        if document is None:
            raise ArtifactError(
                "the file does not say what it was learnt on",
                where=where,
                expected="a file that `cuecard meta-init` wrote",
            )
        manifest = MetaInitManifest.of_document(parse_json(document.encode(), where), where)
        if TensorEntry.of(arrays[TENSOR_NAME]) != manifest.tensor:
            raise ArtifactError(
                "the vectors are not the ones that were saved",
                where=where,
                got=f"shape {arrays[TENSOR_NAME].shape}, or other numbers",
                expected="those of its metadata",
            )
        return cls(LazyTensors(arrays)[TENSOR_NAME], manifest)

    def check(self, backbone: Backbone, where: str) -> None:
        """
        Raises:
            WrongBackboneError: it was learnt on another backbone.
        """
        check_backbone(self.manifest.backbone, backbone, where)

    def save(self, path: str | Path) -> Path:
        """Write the file in one step, over an earlier one.

        Raises:
            ArtifactError: it cannot be written.
        """
        document = {"digest": self.manifest.digest, **self.manifest.model_dump(mode="json")}
        arrays = arrays_of({TENSOR_NAME: self.vectors})
        # One entry alone: several are written in any order.
        content = tensor_file(arrays, {_KEY: json.dumps(document)})
        publish_file(Path(path), content, overwrite=True)
        return Path(path)
