"""What a prompt folder says about itself: `prompt.json`."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, field_validator

from cuecard.artifacts.safetensors_file import (
    MAX_HIDDEN_SIZE,
    MAX_JSON_BYTES,
    MAX_WIDTH,
    parse_json,
)
from cuecard.artifacts.sealed import Part, Sealed
from cuecard.artifacts.seen_rows import RowsEntry
from cuecard.artifacts.tensors import Kind
from cuecard.errors import ArtifactError
from cuecard.types import PeftTask, Slot

SCHEMA_VERSION: Final = 1
MAX_TEST_VECTORS = 64
MAX_TEST_TOKENS = 1 << 14

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
TokenId = Annotated[int, Field(ge=0)]
DtypeName = Literal["float64", "float32", "bfloat16", "float16"]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]


class FingerprintEntry(Part):
    """`cuecard.types.Fingerprint` as JSON."""

    config: Sha256
    tokenizer: Sha256
    embeddings: Sha256
    weights: Sha256
    # Left out where plain, so that plain prompts' digests are those of the schema's first days.
    quantize: str = Field(default="none", exclude_if=lambda form: form == "none")
    adapter: Sha256 | Literal["none"] = Field(
        default="none", exclude_if=lambda digest: digest == "none"
    )


class BackboneEntry(Part):
    """The model that a prompt was made for.

    Attributes:
        name: what its maker called it; a label for people, never opened as a path.
        peft_task: what PEFT calls such a model; None where it runs it in another way.
    """

    name: str
    fingerprint: FingerprintEntry
    hidden_size: int = Field(ge=1, le=MAX_HIDDEN_SIZE)
    num_layers: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    peft_task: PeftTask | None = "CAUSAL_LM"


class TensorEntry(Part):
    """One tensor: the SHA-256 of its little-endian bytes, its shape and its type."""

    sha256: Sha256
    shape: tuple[Annotated[int, Field(ge=1, le=MAX_WIDTH)], ...] = Field(min_length=1, max_length=3)
    dtype: Literal["F32"]


class Expected(Part):
    """Log-probabilities, over the whole vocabulary, of a few tokens at one read."""

    token_ids: tuple[TokenId, ...] = Field(min_length=1, max_length=4096)
    logprobs: tuple[FiniteFloat, ...] = Field(min_length=1, max_length=4096)


class Coordinates(Part):
    """The first coordinates of a text's vector, which has unit length."""

    coordinates: tuple[FiniteFloat, ...] = Field(min_length=1, max_length=4096)


class TestVector(Part):
    """An input and the scores that the prompt gave for it when it was saved.

    Attributes:
        context: token ids.
        slot: how many of them come before the prompt.
        more, deal: its further places, and how many vectors go to each place.
        mask: the place of the context's mask token; None where there is none.
        read: "next": the token after the context, or at its mask, is scored; "pooled": the context
            becomes a vector.
        expected: what came of it.
        dtype: the backbone's type then, such as "float32".
        head: what the head gave for the state behind the context; empty without a head.
    """

    __test__ = False  # pytest: not a test class

    context: tuple[TokenId, ...] = Field(min_length=1, max_length=MAX_TEST_TOKENS)
    slot: int = Field(ge=0)
    # Left out where there is one place, so that such prompts' digests are what they were.
    more: tuple[TokenId, ...] = Field(default=(), exclude_if=lambda places: not places)
    deal: tuple[TokenId, ...] = Field(default=(), exclude_if=lambda sizes: not sizes)
    # Left out without one, so that such prompts' digests are those of the schema's first days.
    mask: int | None = Field(default=None, ge=0, exclude_if=lambda place: place is None)
    read: Literal["next", "pooled"] = "next"
    expected: Expected | Coordinates
    dtype: DtypeName
    # Left out without one, so that such prompts' digests are those of the schema's first days.
    head: tuple[FiniteFloat, ...] = Field(
        default=(), max_length=4096, exclude_if=lambda found: not found
    )


class Manifest(Sealed):
    """Everything about a prompt but its numbers.

    Attributes:
        method: the method's name, such as "prompt-tuning".
        method_config: the method's settings.
        injection: what kind of thing the tensors are.
        key_heads: of keys and values; None for other kinds.
        head: the kind of head trained beside the injection; None without one.
        slot: where the vectors go: before, after, or at a place in the context.
        task: the task's settings (`cuecard.tasks.TaskSpec` as JSON).
        backbone: the model it was made for.
        data_hash: SHA-256 of the training data; empty where unknown.
        rows: hashes of the rows it was trained and selected on; None where unknown.
        seed: the run's seed; None where unknown.
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
    injection: Kind = Field(default="input-tokens", exclude_if=lambda kind: kind == "input-tokens")
    key_heads: int | None = Field(default=None, ge=1, exclude_if=lambda heads: heads is None)
    head: Literal["linear"] | None = Field(default=None, exclude_if=lambda head: head is None)
    slot: Slot
    task: dict[str, JsonValue]
    backbone: BackboneEntry
    data_hash: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    # Left out without them, so that such prompts' digests are those of the schema's first days.
    rows: RowsEntry | None = Field(default=None, exclude_if=lambda entry: entry is None)
    seed: int | None = None
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
        """Everything but `created_with`; the tensors' own digests stand for their bytes."""
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
                "an unknown schema version",
                where=where,
                got=found if found is not None else "none",
                expected=SCHEMA_VERSION,
                hint="load it with the version of cuecard that made it, or a newer one",
            )
        return cls.of_document(document, where)


def software_versions() -> dict[str, str]:
    """Versions of what makes a prompt, for `created_with`."""
    found = {"python": platform.python_version()}
    for name in ("cuecard", "torch", "transformers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that is not installed
            found[name] = "source"
    return found
