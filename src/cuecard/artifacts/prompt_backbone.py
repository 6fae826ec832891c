"""The model that a prompt was made for: its entry in a manifest, and the check against it."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Literal, Protocol

from pydantic import Field

from cuecard.artifacts.safetensors_file import MAX_HIDDEN_SIZE
from cuecard.artifacts.sealed import Sha256, StrictModel
from cuecard.errors import WrongBackboneError
from cuecard.types import Backbone, Fingerprint, PeftTask

_WIDTHS = ("hidden_size", "num_layers", "vocab_size")
_MEANING = {
    "config": "another architecture",
    "tokenizer": "another tokenizer",
    "embeddings": "other input embeddings",
    "weights": "other inner weights",
    "quantize": "another quantisation",
    "adapter": "another LoRA adapter",
    "labels": "another tower for labels' names",
}


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
    # Left out for prompts that no label's name is read with, whatever else their model has.
    labels: Sha256 | Literal["none"] = Field(
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
    def of(cls, backbone: Backbone, *, labels: bool = False) -> PromptBackbone:
        """The entry for a backbone.

        Args:
            labels: whether the prompt needs the tower that reads labels' names.
        """
        entry = FingerprintEntry(**asdict(backbone.fingerprint))
        return cls(
            name=backbone.name,
            fingerprint=entry if labels else entry.model_copy(update={"labels": "none"}),
            hidden_size=backbone.hidden_size,
            num_layers=backbone.num_layers,
            vocab_size=backbone.vocab_size,
            peft_task=backbone.peft_task,
        )


class HasFingerprint(Protocol):
    """A backbone, or the facts of one that another process has loaded."""

    @property
    def name(self) -> str: ...

    @property
    def hidden_size(self) -> int: ...

    @property
    def num_layers(self) -> int: ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def fingerprint(self) -> Fingerprint: ...


def check_backbone(
    entry: PromptBackbone, backbone: HasFingerprint, where: str | None = None
) -> None:
    """Refuse a backbone that differs in any part from the one the prompt was made for.

    Args:
        entry: the manifest's entry.
        where: what was made for it, for messages.

    Raises:
        WrongBackboneError: names every part that differs.
    """
    widths = [
        f"{name} {getattr(backbone, name)} instead of {getattr(entry, name)}"
        for name in _WIDTHS
        if getattr(backbone, name) != getattr(entry, name)
    ]
    # A fingerprint reads the whole embedding matrix; other widths have settled it already.
    found = entry.fingerprint if widths else _needed(backbone.fingerprint, entry.fingerprint)
    parts = [
        f"{_MEANING[field.name]} ({field.name})"
        for field in fields(Fingerprint)
        if getattr(found, field.name) != getattr(entry.fingerprint, field.name)
    ]
    made, given = entry.fingerprint.quantize, found.quantize
    if made != given and not widths and _only_the_form_differs(entry.fingerprint, found):
        raise WrongBackboneError(
            f"the prompt was made for this model {_form(made)}",
            where=where,
            got=f"{backbone.name} {_form(given)}",
            expected=f"{entry.name} {_form(made)}",
            hint=f"load it with quantize={made!r} (--quantize {made}), or train on this one",
        )
    if made_on := _adapters(entry.fingerprint, found) if not widths else None:
        raise WrongBackboneError(
            "the prompt was made for this model with another LoRA adapter",
            where=where,
            got=f"{backbone.name}: {made_on[1]}",
            expected=f"{entry.name}: {made_on[0]}",
            hint="load it with adapter=FOLDER (--adapter FOLDER)"
            if entry.fingerprint.adapter != "none"
            else "load it without --adapter, or train on the adapted model",
        )
    if widths or parts:
        raise WrongBackboneError(
            "the prompt was made for another backbone",
            where=where,
            got=f"{backbone.name}: {', '.join(widths + parts)}",
            expected=entry.name,
            hint="load the backbone named above, unchanged",
        )


def _needed(found: Fingerprint, made: FingerprintEntry) -> Fingerprint:
    """What was found, without the tower for labels where the prompt does not need it."""
    return replace(found, labels="none") if made.labels == "none" else found


def _only_the_form_differs(one: FingerprintEntry, other: FingerprintEntry | Fingerprint) -> bool:
    same = ("config", "tokenizer", "embeddings")
    return all(getattr(one, name) == getattr(other, name) for name in same)


def _adapters(
    made: FingerprintEntry, given: FingerprintEntry | Fingerprint
) -> tuple[str, str] | None:
    """Both adapters in words, if these alone differ."""
    others = [field.name for field in fields(Fingerprint) if field.name != "adapter"]
    if made.adapter == given.adapter or any(
        getattr(made, name) != getattr(given, name) for name in others
    ):
        return None
    first, second = (
        "no adapter" if digest == "none" else f"the adapter {digest}"
        for digest in (made.adapter, given.adapter)
    )
    return first, second


def _form(quantize: str) -> str:
    return "without quantisation" if quantize == "none" else f"quantised as {quantize}"
