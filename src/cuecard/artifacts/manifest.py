"""The manifest of a prompt folder: `prompt.json`."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, ValidationError, field_validator

from cuecard.artifacts.files import MANIFEST_FILE, MAX_JSON_BYTES, PEFT_FILE, require
from cuecard.artifacts.lineage import PortedFrom
from cuecard.artifacts.prompt_backbone import PromptBackbone
from cuecard.artifacts.safetensors_file import (
    MAX_WIDTH,
    TENSOR_NAME,
    check_finite,
    little_endian,
)
from cuecard.artifacts.sealed import FiniteFloat, Sealed, Sha256, StrictModel
from cuecard.artifacts.seen_rows import RowsEntry
from cuecard.artifacts.tensors import (
    HEAD_BIAS,
    HEAD_NAMES,
    HEAD_TFIDF,
    HEAD_WEIGHT,
    LABELS_NAME,
    MIX_DOWN,
    MIX_NAMES,
    MIX_SOURCES,
    NAMES,
    SHIFT_DOWN,
    SHIFT_NAMES,
    VISION_LAYERS_NAME,
    VISION_NAME,
    WITH_HEADS,
    HeadName,
    InjectionName,
)
from cuecard.artifacts.test_vectors import MAX_TEST_VECTORS, TestVector
from cuecard.errors import ArtifactError, CuecardError
from cuecard.plain_files import parse_json
from cuecard.tasks.spec import TaskSpec
from cuecard.types import NamePlace, Slot
from cuecard.validation_text import first_problem

if TYPE_CHECKING:
    from cuecard.artifacts.safetensors_file import Array

SCHEMA_VERSION: Final = 1


class TensorEntry(StrictModel):
    """One tensor: the SHA-256 of its little-endian bytes, its shape and its type."""

    sha256: Sha256
    shape: tuple[Annotated[int, Field(ge=1, le=MAX_WIDTH)], ...] = Field(min_length=1, max_length=4)
    dtype: Literal["F32"]

    @classmethod
    def of(cls, array: Array) -> TensorEntry:
        """The entry for a tensor."""
        digest = hashlib.sha256(little_endian(array).tobytes()).hexdigest()
        return cls(sha256=digest, shape=array.shape, dtype="F32")


class ParametersEntry(StrictModel):
    """How many numbers the run trained, and how many there were with the frozen ones.

    More are trained than are saved where a method's encoder folds to plain vectors.
    """

    trained: int = Field(ge=0)
    total: int = Field(ge=1)


class Manifest(Sealed):
    """Everything about a prompt but its numbers.

    Attributes:
        method: the method's name, such as "prompt-tuning".
        method_config: the method's settings.
        injection: what kind of thing the tensors are.
        key_heads: of keys and values; None for other kinds.
        head: the kind of head trained beside the injection; None without one. "labels" is what the
            injection and a tower made of the labels' names.
        head_layers: the layers that a pooled head reads.
        name_place: where a label's name stands among the vectors around it.
        slot: where the vectors go: before, after, or at a place in the context.
        task: the task's settings (`cuecard.tasks.TaskSpec` as JSON).
        backbone: the model it was made for.
        data_hash: SHA-256 of the training data; empty where unknown.
        rows: hashes of the rows it was trained and selected on; None where unknown.
        seed: the run's seed; None where unknown.
        parameters: how many numbers were trained; None where unknown.
        ported_from: the prompt of another backbone whose answers it was trained on; None for none.
        metrics: measured values, with their intervals; no timings, so that equal runs give equal
            digests.
        prior: label -> log-prior that was measured for calibration.
        test_vectors: checked whenever the prompt is loaded onto its backbone.
        tensors: by name.
        adapter_config_sha256: of `adapter_config.json`; None where PEFT has no such form and the
            file must not be there (the suffix slot).
        created_with: versions of the software; not part of the digest.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    method: str
    method_config: dict[str, JsonValue]
    # Left out where plain, so that such prompts' digests are those of the schema's first days.
    injection: InjectionName = Field(
        default="input-tokens", exclude_if=lambda kind: kind == "input-tokens"
    )
    key_heads: int | None = Field(default=None, ge=1, exclude_if=lambda heads: heads is None)
    head: HeadName | None = Field(default=None, exclude_if=lambda head: head is None)
    head_layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(), exclude_if=lambda layers: not layers
    )
    name_place: NamePlace = Field(default="end", exclude_if=lambda place: place == "end")
    slot: Slot
    task: dict[str, JsonValue]
    backbone: PromptBackbone
    data_hash: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    # Left out without them, so that such prompts' digests are those of the schema's first days.
    rows: RowsEntry | None = Field(default=None, exclude_if=lambda entry: entry is None)
    seed: int | None = None
    # Left out where unknown, as in prompts of before it was kept, whose digests stay.
    parameters: ParametersEntry | None = Field(default=None, exclude_if=lambda entry: entry is None)
    # Left out by prompts that are no ports, whose digests stay.
    ported_from: PortedFrom | None = Field(default=None, exclude_if=lambda entry: entry is None)
    metrics: dict[str, JsonValue] = Field(default_factory=dict)
    prior: dict[str, FiniteFloat] | None = None
    test_vectors: tuple[TestVector, ...] = Field(min_length=1, max_length=MAX_TEST_VECTORS)
    tensors: dict[str, TensorEntry]
    adapter_config_sha256: Sha256 | None = None
    created_with: dict[str, str] = Field(default_factory=dict)

    @field_validator("method_config", "task", "metrics")
    @classmethod
    def _finite(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        json.dumps(value, allow_nan=False)  # raises ValueError on NaN and infinity
        return value

    def sealed_content(self) -> dict[str, Any]:
        """Everything but `created_with`; the tensors' bytes count by their digests."""
        content = self.model_dump(mode="json", exclude={"created_with"})
        if self.backbone.peft_task == "CAUSAL_LM":
            # Prompts from before there was a choice keep their digests.
            del content["backbone"]["peft_task"]
        return content

    def to_bytes(self) -> bytes:
        """The content of `prompt.json`, with the digest beside the fields.

        Raises:
            ArtifactError: it would be too large to be loaded again.
        """
        document = {"digest": self.digest, **self.model_dump(mode="json")}
        content = (json.dumps(document, indent=1, allow_nan=False) + "\n").encode("ascii")
        if len(content) > MAX_JSON_BYTES:
            raise ArtifactError(
                "the manifest is too large to save",
                got=f"{len(content)} bytes",
                expected=f"at most {MAX_JSON_BYTES} bytes",
                hint="store fewer metrics or test vectors",
            )
        return content

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], where: str) -> Manifest:
        """Read `prompt.json` and compare what it says with itself and with PEFT's file.

        Args:
            files: the content of a prompt's files by name.
            where: the folder or address they were read from, for messages.

        Raises:
            ArtifactError: as `from_bytes`; a task that this version cannot use, tensors that no
                such prompt has, or another `adapter_config.json` than was saved.
        """
        path = f"{where}/{MANIFEST_FILE}"
        manifest = cls.from_bytes(require(files, MANIFEST_FILE, where), path)
        _check_names(manifest, _task_of(manifest, path), path)
        _check_peft_file(manifest, files, where)
        return manifest

    def check_tensors(self, arrays: Mapping[str, Array], where: str) -> None:
        """Compare tensors with their digests and shapes in here.

        Raises:
            ArtifactError: other tensors, or NaN or infinity among them.
        """
        spec = _task_of(self, where)
        _check_names(self, spec, where)
        for name, array in arrays.items():
            entry = self.tensors[name]
            check_finite(array, where)
            if array.shape != entry.shape or not _fits(self, spec, name):
                raise ArtifactError(
                    "the tensor's shape is not the one in the manifest",
                    where=where,
                    got=array.shape,
                    expected=f"{entry.shape}, for a hidden size of {self.backbone.hidden_size}, "
                    f"{self.backbone.num_layers} layers and {self.key_heads or 'no'} key heads",
                )
            if (found := TensorEntry.of(array).sha256) != entry.sha256:
                raise ArtifactError(
                    "the tensor was altered: its bytes do not match the manifest",
                    where=where,
                    got=found,
                    expected=entry.sha256,
                )
            if name == HEAD_TFIDF:
                _check_tokens(array[0], self.backbone.vocab_size, where)

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Manifest:
        """Read `prompt.json`.

        Raises:
            ArtifactError: broken JSON, another schema version, missing, unknown or wrong fields, or
                content that does not match its digest.
        """
        document = parse_json(content, where)
        found = document.get("schema_version")
        if found != SCHEMA_VERSION or isinstance(found, bool):
            raise ArtifactError(
                "unknown schema version",
                where=where,
                got=found if found is not None else "none",
                expected=SCHEMA_VERSION,
                hint="load it with the version of cuecard that made it, or a newer one",
            )
        return cls.of_document(document, where)


def _fits(manifest: Manifest, spec: TaskSpec, name: str) -> bool:
    """Whether a tensor of the shape that the manifest gives can be what it says it is."""
    layers, hidden = manifest.backbone.num_layers, manifest.backbone.hidden_size
    shape, outputs = manifest.tensors[name].shape, spec.outputs
    if name == HEAD_BIAS:
        return shape == (outputs,)
    if name == HEAD_TFIDF:
        return shape[0] == 2 and shape[1] > 0
    if manifest.injection == "label-tokens" and name == LABELS_NAME:
        return shape[0] in (1, outputs)
    if name == HEAD_WEIGHT and manifest.head == "labels":
        return shape[0] == outputs and (shape[1:] == (1,) or SHIFT_DOWN not in manifest.tensors)
    if name in SHIFT_NAMES:
        return _shift_fits(manifest, name)
    if name in MIX_NAMES:
        return _mix_fits(manifest, name)
    if name == HEAD_WEIGHT:
        # What a pooled head reads of each layer is as wide as the backbone's keys.
        counted = manifest.tensors[HEAD_TFIDF].shape[-1] if HEAD_TFIDF in manifest.tensors else 0
        more, pooled = divmod(shape[-1] - hidden - counted, len(manifest.head_layers) or 1)
        wide = more > 0 == pooled if manifest.head_layers else shape[-1] == hidden
        return wide and (len(shape), shape[0]) == (2, outputs)
    if manifest.injection in WITH_HEADS:
        return shape[-1] % (layers * 2 * (manifest.key_heads or 1)) == 0
    if manifest.injection == "layer-tokens":
        return shape[0] == layers and shape[-1] == hidden
    # A vision tower has a width of its own, which the backbone checks when it is asked.
    return shape[-1] == hidden or name in (VISION_NAME, VISION_LAYERS_NAME)


def _shift_fits(manifest: Manifest, name: str) -> bool:
    """Whether a tensor of a meta-net is as wide as the vectors that it moves, and the others."""
    down, hidden = manifest.tensors[SHIFT_DOWN].shape, manifest.tensors[LABELS_NAME].shape[-1]
    middle, width = down[0], down[-1]
    sizes = (middle, width), (middle,), (hidden, middle), (hidden,)
    return manifest.tensors[name].shape == dict(zip(SHIFT_NAMES, sizes, strict=True))[name]


def _mix_fits(manifest: Manifest, name: str) -> bool:
    """Whether a tensor of a mix of prompts is as wide as the vectors, and the others."""
    own, hidden = manifest.tensors[TENSOR_NAME].shape, manifest.backbone.hidden_size
    count, middle = manifest.tensors[MIX_SOURCES].shape[0], manifest.tensors[MIX_DOWN].shape[0]
    sizes = (count, *own), (middle, hidden), (hidden, middle), (hidden,), (hidden,), (1,)
    return manifest.tensors[name].shape == dict(zip(MIX_NAMES, sizes, strict=True))[name]


def _check_tokens(ids: Array, vocab_size: int, where: str) -> None:
    """A pooled head counts tokens that the backbone has, each once, in ascending order."""
    whole = bool((ids == ids.astype(int)).all())
    if not whole or ids[0] < 0 or ids[-1] >= vocab_size or bool((ids[1:] <= ids[:-1]).any()):
        raise ArtifactError(
            "the head counts tokens that are no tokens",
            where=f"{where}: {HEAD_TFIDF}",
            got=f"{ids.min():g} to {ids.max():g}",
            expected=f"whole numbers from 0 to {vocab_size - 1}, ascending",
        )


def _check_layers(manifest: Manifest, spec: TaskSpec, where: str) -> None:
    """A pooled head, and no other one, reads layers that the backbone has."""
    pooled, layers = spec.head == "pooled", manifest.head_layers
    known = all(layer < manifest.backbone.num_layers for layer in layers)
    if pooled is not (manifest.head == "pooled") or pooled is not bool(layers) or not known:
        raise ArtifactError(
            "the manifest's head does not read what its task says",
            where=where,
            got=f"head {manifest.head} of layers {list(layers)}, task head {spec.head}",
            expected=f"layers below {manifest.backbone.num_layers}" if pooled else "no layers",
        )


def _check_names(manifest: Manifest, spec: TaskSpec, where: str) -> None:
    """The manifest names the tensors of its kind of prompt."""
    needed, allowed = NAMES[manifest.injection]
    names = set(manifest.tensors) - HEAD_NAMES
    headed = spec.mode == "head"
    head_names = set(manifest.tensors) & HEAD_NAMES
    least = HEAD_NAMES - {HEAD_TFIDF} if headed else frozenset()
    most = HEAD_NAMES if headed and manifest.head_layers else least
    by_labels = manifest.injection == "label-tokens"
    if (
        not least <= head_names <= most
        or headed is not (manifest.head is not None)
        or by_labels is not (manifest.head == "labels")
    ):
        raise ArtifactError(
            "the manifest's head is not the one its task needs",
            where=where,
            got=f"head {manifest.head}, {', '.join(sorted(head_names))}",
            expected="a head with weight and bias" if headed else "none",
        )
    _check_layers(manifest, spec, where)
    with_heads = manifest.injection in WITH_HEADS
    if (
        bool(needed) is not bool(names & needed)
        or not names <= needed | allowed
        or len(names.intersection(SHIFT_NAMES)) not in (0, len(SHIFT_NAMES))
        or len(names.intersection(MIX_NAMES)) not in (0, len(MIX_NAMES))
        or (not names.isdisjoint(MIX_NAMES) and TENSOR_NAME not in names)
        or with_heads is not (manifest.key_heads is not None)
    ):
        raise ArtifactError(
            "the manifest does not list exactly the prompt's tensors",
            where=where,
            got=", ".join(sorted(names)[:5]) or "no tensor",
            expected=f"{' or '.join(sorted(needed)) or 'no tensor'}"
            + (" and key_heads" if with_heads else ", without key_heads"),
        )


def _check_peft_file(manifest: Manifest, files: Mapping[str, bytes], where: str) -> None:
    """`adapter_config.json` is the one that was saved, or absent where PEFT has no such form."""
    expected = manifest.adapter_config_sha256
    if expected is None and PEFT_FILE in files:
        raise ArtifactError(
            "the adapter configuration does not belong to this prompt",
            where=f"{where}/{PEFT_FILE}",
            hint="PEFT has no form for this kind of prompt; remove the file",
        )
    if expected is None:
        return
    found = hashlib.sha256(require(files, PEFT_FILE, where)).hexdigest()
    if found != expected:
        raise ArtifactError(
            "the adapter configuration was altered: it does not match the manifest",
            where=f"{where}/{PEFT_FILE}",
            got=found,
            expected=expected,
        )


def _task_of(manifest: Manifest, where: str) -> TaskSpec:
    """The manifest's task, which is one that this version can use."""
    try:
        return TaskSpec.of_prompt(manifest.task)
    except (ValidationError, CuecardError) as error:
        problem = error.what if isinstance(error, CuecardError) else first_problem(error)
        raise ArtifactError("the manifest's task is invalid", where=where, got=problem) from error


def software_versions() -> dict[str, str]:
    """Versions of what makes a prompt, for `created_with`."""
    found = {"python": platform.python_version()}
    for name in ("cuecard", "torch", "transformers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that is not installed
            found[name] = "source"
    return found
