"""A trained prompt: its vectors and everything needed to use and to trust them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from cuecard.artifacts.adapter_config import adapter_config
from cuecard.artifacts.checks import (
    check_peft_file,
    check_task,
    check_tensor,
    describe_backbone,
    describe_tensor,
    tensor_file,
)
from cuecard.artifacts.files import MANIFEST_FILE, PEFT_FILE, TENSOR_FILE, publish_folder
from cuecard.artifacts.fingerprints import check_backbone
from cuecard.artifacts.load import (
    MAX_JSON_BYTES,
    MAX_TENSOR_BYTES,
    TENSOR_NAME,
    check_finite,
    parse_vectors,
    read_plain_file,
)
from cuecard.artifacts.manifest import Manifest, first_problem, software_versions
from cuecard.artifacts.probes import check_test_vectors, default_probes, make_test_vectors
from cuecard.errors import ArtifactError, ConfigError
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Encoded, InputTokens, Slot


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt as it is saved, loaded and served. Make one with `create` or `load`.

    Attributes:
        vectors: [P, H] float32 on the CPU.
        manifest: everything else.
    """

    vectors: Tensor
    manifest: Manifest

    @classmethod
    def create(
        cls,
        vectors: Tensor,
        *,
        backbone: Backbone,
        spec: TaskSpec,
        method: str,
        method_config: Mapping[str, Any],
        slot: Slot,
        data_hash: str = "",
        seed: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        prior: Mapping[str, float] | None = None,
        probes: Sequence[Encoded] = (),
        created_with: Mapping[str, str] | None = None,
    ) -> Prompt:
        """Make a prompt from trained vectors, and its test vectors by running the backbone.

        Args:
            vectors: [P, H], any float type and device; copied.
            metrics: anything that is finite JSON; no timings (they would change the digest).
            probes: inputs of the test vectors, stored in the artefact as token ids; by default two
                fixed sentences in the task's template.
            created_with: more entries beside the software versions.

        Raises:
            ArtifactError: vectors of a wrong shape, or NaN or infinity among them.
            ConfigError: settings or metrics that cannot be stored.
        """
        kept = vectors.detach().to("cpu", torch.float32, copy=True).contiguous()
        _check_new(kept, backbone)
        tests = make_test_vectors(
            backbone, spec, kept, probes or default_probes(spec, backbone, slot)
        )
        peft = _peft_bytes(slot, kept, backbone.num_layers, backbone.name)
        try:
            manifest = Manifest(
                method=method,
                method_config=dict(method_config),
                slot=slot,
                task=spec.model_dump(mode="json"),
                backbone=describe_backbone(backbone),
                data_hash=data_hash,
                seed=seed,
                metrics=dict(metrics or {}),
                prior=None if prior is None else dict(prior),
                test_vectors=tests,
                tensors={TENSOR_NAME: describe_tensor(kept)},
                adapter_config_sha256=None if peft is None else hashlib.sha256(peft).hexdigest(),
                created_with={**software_versions(), **(created_with or {})},
            )
        except ValidationError as error:
            raise _cannot_store(error) from error
        return cls(kept, manifest)

    @classmethod
    def load(
        cls, folder: str | Path, backbone: Backbone | None = None, *, check_vectors: bool = True
    ) -> Prompt:
        """Read a prompt folder; every check of `cuecard.artifacts.load` and more comes first.

        Args:
            folder: a folder that `save` made.
            backbone: the model to use it with; without one, only the files are checked.
            check_vectors: also run the test vectors on the backbone.

        Raises:
            WrongBackboneError: the prompt was made for another backbone.
            ArtifactError: anything missing, altered, malformed or out of bounds.
        """
        folder = Path(folder)
        manifest_path, tensor_path = str(folder / MANIFEST_FILE), str(folder / TENSOR_FILE)
        manifest = Manifest.from_bytes(
            read_plain_file(folder, MANIFEST_FILE, MAX_JSON_BYTES), manifest_path
        )
        check_task(manifest, manifest_path)
        check_peft_file(manifest, folder)
        if backbone is not None:
            check_backbone(manifest, backbone, str(folder))
        content = read_plain_file(folder, TENSOR_FILE, MAX_TENSOR_BYTES)
        vectors = parse_vectors(content, tensor_path)
        check_tensor(manifest, vectors, tensor_path)
        if backbone is not None and check_vectors:
            check_test_vectors(manifest, vectors, backbone, manifest_path)
        return cls(vectors, manifest)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the folder in one step: it is there whole, or as it was before.

        Saving the same prompt again does nothing.

        Raises:
            ArtifactError: the folder holds something else, cannot be written, or the vectors no
                longer are the ones the manifest describes.
        """
        folder = Path(folder).absolute()
        check_tensor(self.manifest, self.vectors, "the prompt in memory")
        contents = {
            MANIFEST_FILE: self.manifest.to_bytes(),
            TENSOR_FILE: tensor_file(self.vectors, {"format": "pt"}),
        }
        peft = self.adapter_config()
        if peft is not None:
            contents[PEFT_FILE] = peft
        if not self._is_saved_in(folder):
            publish_folder(folder, contents, overwrite=overwrite)
        return folder

    def with_metrics(self, metrics: Mapping[str, Any]) -> Prompt:
        """The same prompt with other metrics, and so with another digest."""
        document = {**self.manifest.model_dump(), "metrics": dict(metrics)}
        try:
            return Prompt(self.vectors, Manifest.model_validate(document))
        except ValidationError as error:
            raise _cannot_store(error) from error

    def injection(self) -> InputTokens:
        """What a backbone takes."""
        return InputTokens(self.vectors)

    def adapter_config(self) -> bytes | None:
        """The content of PEFT's `adapter_config.json`; None for a slot that PEFT does not have."""
        entry = self.manifest.backbone
        return _peft_bytes(self.manifest.slot, self.vectors, entry.num_layers, entry.name)

    @property
    def spec(self) -> TaskSpec:
        """The task it was made for."""
        return TaskSpec.model_validate(self.manifest.task)

    @property
    def digest(self) -> str:
        """SHA-256 of the content: what identifies a prompt."""
        return self.manifest.digest

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors: what one more task costs to store and to hold."""
        return self.vectors.numel() * self.vectors.element_size()

    def _is_saved_in(self, folder: Path) -> bool:
        if not (folder / MANIFEST_FILE).is_file():
            return False
        try:
            return Prompt.load(folder).digest == self.digest
        except ArtifactError:  # a damaged prompt is another prompt
            return False


def _peft_bytes(slot: Slot, vectors: Tensor, num_layers: int, backbone: str) -> bytes | None:
    length, width = vectors.shape
    return adapter_config(
        slot, length=length, hidden_size=width, num_layers=num_layers, backbone=backbone
    )


def _check_new(vectors: Tensor, backbone: Backbone) -> None:
    if vectors.ndim != 2 or len(vectors) < 1 or vectors.shape[1] != backbone.hidden_size:
        raise ArtifactError(
            "the vectors do not fit the backbone",
            where=backbone.name,
            got=f"shape {tuple(vectors.shape)}",
            expected=f"shape (1 or more, {backbone.hidden_size})",
        )
    check_finite(vectors, "the trained vectors")


def _cannot_store(error: ValidationError) -> ConfigError:
    return ConfigError(
        "this cannot be stored in a prompt",
        got=first_problem(error),
        expected="finite JSON values",
    )
