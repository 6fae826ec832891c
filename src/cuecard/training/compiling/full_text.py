"""A text where a prompt would stand, as keys and values that the backbone makes of it once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from cuecard.errors import BackboneError, ConfigError, DataError
from cuecard.lazy import torch
from cuecard.tasks import TaskSpec
from cuecard.tasks.encoding.bound import bind
from cuecard.tasks.encoding.tokens import (
    defuse,
    ids_after,
    leading_ids,
    plain_ids,
    special_texts,
)
from cuecard.tasks.template import PROMPT
from cuecard.types import Backbone, PrefixKV, Record, Slot

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FullText:
    """The text that a prompt is compiled from, on its backbone.

    The text stands where the template has {prompt}; all of a request that comes before it, such as
    a begin-of-text token or a chat template's header, is the same in every request. Its keys are
    rotated for the positions that follow those, and the request goes on after them, as if all of
    it had been run: asked with `injection`, the backbone answers as with the whole text in front.

    Attributes:
        spec: what is asked; its template has {prompt} where something comes before the text.
        slot: where its keys and values go: "prefix", or after what comes before ("infix").
        before: the tokens that come before it in every request.
        ids: its own.
        keys_values: [L, 2, K, T, D] float32.
        digest: SHA-256 of the text.
    """

    backbone: Backbone
    spec: TaskSpec
    slot: Slot
    before: tuple[int, ...]
    ids: tuple[int, ...]
    keys_values: Tensor
    digest: str

    @classmethod
    def of(cls, backbone: Backbone, spec: TaskSpec, text: str) -> FullText:
        """Run a text once.

        Raises:
            DataError: a text without tokens.
            ConfigError: a template without one place in front of the fields, a text that is longer
                than the backbone's positions, or a backbone that it cannot be put in front of.
            BackboneError: a backbone that does not keep all of the text's keys and values.
        """
        tokenizer = backbone.tokenizer
        spec, slot = _placed(with_place(spec), backbone)
        _check_backbone(backbone, slot)
        before = _before(backbone, spec) if slot == "infix" else ()
        safe = defuse(text, special_texts(tokenizer)).strip()
        inside = len(before) > len(leading_ids(tokenizer))
        ids = ids_after(tokenizer, safe) if inside else plain_ids(tokenizer, safe)
        if not safe or not ids:
            raise DataError(
                "there is nothing to compile",
                where="text",
                got="an empty text" if not safe else "a text without tokens",
                expected="some text",
            )
        _check_length(backbone, len(before) + len(ids))
        kept = _run(backbone, (*before, *ids))
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return cls(backbone, spec, slot, before, ids, kept[..., len(before) :, :], digest)

    @property
    def parts(self) -> list[Any]:
        """What the backbone's answers with it depend on, apart from the inputs."""
        backbone = self.backbone
        asked = [self.digest, self.slot, self.spec.model_dump(mode="json")]
        return [*asked, asdict(backbone.fingerprint), str(backbone.dtype)]

    @property
    def length(self) -> int:
        """T."""
        return len(self.ids)

    @property
    def late(self) -> bool:
        """Whether something comes before it."""
        return self.slot == "infix"

    @property
    def injection(self) -> PrefixKV:
        """All of it."""
        return PrefixKV(self.keys_values, self.late)

    def first(self, length: int) -> PrefixKV:
        """What the backbone makes of its first tokens: of the text cut after them."""
        return PrefixKV(self.keys_values[..., :length, :], self.late)

    def last(self, length: int) -> PrefixKV:
        """What the backbone makes of its last tokens alone."""
        return self.in_its_place(self.ids[self.length - length :])

    def in_its_place(self, ids: Sequence[int]) -> PrefixKV:
        """What the backbone makes of other tokens, one or more, where the text stands."""
        kept = _run(self.backbone, (*self.before, *ids))
        return PrefixKV(kept[..., len(self.before) :, :], self.late)

    @property
    def position_bytes(self) -> int:
        """What a position takes in a server's memory."""
        layers, both, heads, _, size = self.keys_values.shape
        return int(layers * both * heads * size) * self.backbone.dtype.itemsize

    def check_rows(self, records: Sequence[Record]) -> None:
        """Refuse inputs that do not fit behind the text with their answers.

        Raises:
            ConfigError: there are such.
        """
        backbone, spec = self.backbone, self.spec
        bare = [replace(record, target=None) for record in records]
        rows = [spec.encode(record, backbone.tokenizer, self.slot) for record in bare]
        longest = max((row.positions for row in rows), default=0)
        answer = spec.max_new_tokens if spec.mode == "text" else 1
        whole = self.length + longest + answer
        if whole > backbone.max_positions:
            raise ConfigError(
                "the backbone has no room for the text, the longest input and its answer",
                where=f"backbone {backbone.name}",
                got=f"{whole:,} positions: {self.length:,} of the text + {longest:,} of the input "
                f"+ {answer:,} of the answer",
                expected=f"at most {backbone.max_positions:,}",
                hint="cut the text, or lower max_length or max_new_tokens",
            )


def with_place(spec: TaskSpec) -> TaskSpec:
    """The task with {prompt} in front of its template where it does not say.

    Raises:
        ConfigError: several places, or one after a field.
    """
    template = spec.parsed
    if not template.has_prompt:
        return spec.model_copy(update={"template": f"{{{PROMPT}}}{spec.template}"})
    if template.places > 1 or template.prompt_is_late or any(template.deal):
        raise ConfigError(
            "the text's keys and values would differ from input to input",
            where="template",
            got=repr(spec.template),
            expected="{prompt} once, without a number, before every field",
        )
    return spec


def _placed(spec: TaskSpec, backbone: Backbone) -> tuple[TaskSpec, Slot]:
    """Where the text goes, and the template as prompts there have it.

    In front of everything where nothing comes before it: then without {prompt}.
    """
    gap = f"{{{PROMPT}}}"
    opens = spec.chat or bool(leading_ids(backbone.tokenizer))
    if opens or not spec.template.startswith(gap):
        return spec, "infix"
    return spec.model_copy(update={"template": spec.template.removeprefix(gap)}), "prefix"


def _check_backbone(backbone: Backbone, slot: Slot) -> None:
    reason = None
    if "next-tokens" not in backbone.reads or not backbone.causal:
        reason = "not a causal language model"
    else:
        reason = backbone.unsupported("prefix-kv" if slot == "prefix" else "late-prefix-kv")
    if reason is None:
        return
    raise ConfigError(
        "a text cannot be compiled for this backbone",
        where=f"backbone {backbone.name}",
        got=reason,
        expected="a causal language model that takes keys and values in front of its input"
        + ("" if slot == "prefix" else ", after what comes before the text"),
        hint=None
        if slot == "prefix"
        else "something comes before the text in every request: a begin-of-text token, the chat "
        "template's header, or the template's own words",
    )


def _before(backbone: Backbone, spec: TaskSpec) -> tuple[int, ...]:
    """The tokens that come before the prompt's place in every request."""
    encoder = bind(spec, backbone.tokenizer).infix
    context = encoder(dict.fromkeys(spec.field_names, "a"))
    return context.ids[: context.before]


def _check_length(backbone: Backbone, length: int) -> None:
    if length >= backbone.max_positions:
        raise ConfigError(
            "the text is longer than the backbone's context",
            where=f"backbone {backbone.name}",
            got=f"{length:,} tokens",
            expected=f"fewer than {backbone.max_positions:,}, with room for an input and its "
            "answer",
            hint="cut the text into parts, or choose a backbone with a longer context",
        )


def _run(backbone: Backbone, ids: Sequence[int]) -> Tensor:
    """[L, 2, K, n, D] float32 what the backbone makes of tokens."""
    vectors = backbone.embeddings[torch.tensor(ids, device=backbone.embeddings.device)]
    kept = backbone.states(vectors).keys_values
    if kept is None:
        raise BackboneError(
            "this backbone does not keep all of the text's keys and values",
            where=backbone.name,
            got=f"{len(ids):,} tokens",
            expected="a text within the sliding window, or a backbone without one",
        )
    return kept.float()
