"""Which model a prompt was made for, as prompts and registries write it down."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from pydantic import Field

from cuecard.artifacts.safetensors_file import MAX_HIDDEN_SIZE
from cuecard.artifacts.sealed import Sha256, StrictModel
from cuecard.types import Backbone, PeftTask


class FingerprintEntry(StrictModel):
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


class PromptBackbone(StrictModel):
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

    @classmethod
    def of(cls, backbone: Backbone) -> PromptBackbone:
        """The entry for a backbone."""
        return cls(
            name=backbone.name,
            fingerprint=FingerprintEntry(**asdict(backbone.fingerprint)),
            hidden_size=backbone.hidden_size,
            num_layers=backbone.num_layers,
            vocab_size=backbone.vocab_size,
            peft_task=backbone.peft_task,
        )
