"""Test vectors: a few inputs and the scores the prompt gave, checked whenever it is loaded.

A checksum shows that the bytes are the saved ones. Only running them shows that prompt, backbone,
tokenizer and library versions together still answer as they did.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from cuecard.artifacts.sealed import FiniteFloat, StrictModel
from cuecard.errors import ArtifactError, ConfigError
from cuecard.lazy import torch
from cuecard.tasks.encoding.batching import collate, mask_logits
from cuecard.tasks.encoding.head_inputs import HeadRows, read_for_heads
from cuecard.tasks.encoding.pooling import embed_rows
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Encoded, Head, Image, Injection, Placement, Record, Slot

if TYPE_CHECKING:
    from torch import Tensor

MAX_TEST_VECTORS = 64
MAX_TEST_TOKENS = 1 << 14
MAX_TEST_IMAGES, MAX_TEST_IMAGE = 4, 1 << 16

TokenId = Annotated[int, Field(ge=0)]
Base64 = Annotated[
    str,
    Field(
        min_length=4,
        max_length=MAX_TEST_IMAGE,
        pattern=r"\A(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\z",
    ),
]
DtypeName = Literal["float64", "float32", "bfloat16", "float16"]

TOP_TOKENS = 5
# Largest difference of a log-probability that rounding explains, by the coarser of the two types.
TOLERANCE: dict[DtypeName, float] = {
    "float64": 2e-3,
    "float32": 2e-3,
    "float16": 0.1,
    "bfloat16": 0.5,
}
# The same of a coordinate of a vector of unit length.
COORDINATE_TOLERANCE: dict[DtypeName, float] = {
    "float64": 1e-3,
    "float32": 1e-3,
    "float16": 0.01,
    "bfloat16": 0.05,
}
_COORDINATES = 16
# Fewer digits than rounding leaves sure: the digest should not hang on the last bit of a kernel.
_DECIMALS = 4
_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Nobody wanted 12 of these, not even one.",
)


class Expected(StrictModel):
    """Log-probabilities, over the whole vocabulary, of a few tokens at one read."""

    token_ids: tuple[TokenId, ...] = Field(min_length=1, max_length=4096)
    logprobs: tuple[FiniteFloat, ...] = Field(min_length=1, max_length=4096)


class Coordinates(StrictModel):
    """The first coordinates of a text's vector, which has unit length; or shares of a mask."""

    coordinates: tuple[FiniteFloat, ...] = Field(min_length=1, max_length=4096)


class TestVector(StrictModel):
    """An input and the scores that the prompt gave for it when it was saved.

    Attributes:
        context: token ids; empty only for images.
        images: the files of the input's images, in base64.
        slot: how many of them come before the prompt.
        more, deal: its further places, and how many vectors go to each place.
        mask: the place of the context's mask token; None where there is none.
        read: "next": the token after the context, or at its mask, is scored; "pooled": the context
            becomes a vector; "mask": the image has a mask, of which a few cells' probabilities,
            evenly spread, are kept.
        expected: the scores or coordinates.
        dtype: the backbone's type then, such as "float32".
        head: the head's outputs for the state after the context; empty without a head.
    """

    __test__ = False  # pytest: not a test class

    context: tuple[TokenId, ...] = Field(max_length=MAX_TEST_TOKENS)
    # Left out where there is none, so that such prompts' digests are what they were.
    images: tuple[Base64, ...] = Field(
        default=(), max_length=MAX_TEST_IMAGES, exclude_if=lambda images: not images
    )
    slot: int = Field(ge=0)
    # Left out where there is one place, so that such prompts' digests are what they were.
    more: tuple[TokenId, ...] = Field(default=(), exclude_if=lambda places: not places)
    deal: tuple[TokenId, ...] = Field(default=(), exclude_if=lambda sizes: not sizes)
    # Left out without one, so that such prompts' digests are those of the schema's first days.
    mask: int | None = Field(default=None, ge=0, exclude_if=lambda place: place is None)
    read: Literal["next", "pooled", "mask"] = "next"
    expected: Expected | Coordinates
    dtype: DtypeName
    # Left out without one, so that such prompts' digests are those of the schema's first days.
    head: tuple[FiniteFloat, ...] = Field(
        default=(), max_length=4096, exclude_if=lambda found: not found
    )

    def encoded(self) -> Encoded:
        """The input as a row."""
        placement = Placement((self.slot, *self.more), self.deal)
        images = tuple(Image(base64.b64decode(content)) for content in self.images)
        return Encoded(self.context, (), placement, mask=self.mask, images=images)


def dtype_name(dtype: torch.dtype) -> DtypeName | None:
    """A number type's name without its module; None for one that has no tolerance."""
    name = str(dtype).removeprefix("torch.")
    return next((known for known in TOLERANCE if known == name), None)


def default_probes(spec: TaskSpec, backbone: Backbone, slot: Slot) -> list[Encoded]:
    """Fixed texts in the task's own template, so that no user's data ends up in an artefact.

    Or fixed pictures, for a task of images.
    """
    values = [spec.task_kind.probe(text) for text in _TEXTS]
    records = [Record(dict.fromkeys(spec.record_fields, value), target=None) for value in values]
    return [spec.encode(record, backbone.tokenizer, slot) for record in records]


def make_test_vectors(
    backbone: Backbone,
    spec: TaskSpec,
    injection: Injection,
    probes: Sequence[Encoded],
    head: Head | None = None,
) -> tuple[TestVector, ...]:
    """Score the token after each probe: the label words' first tokens and the most likely ones.

    An embedding task's probes become vectors, of which the first coordinates are kept.
    With a head also what it gives, beside vectors where the backbone says no next token.

    Raises:
        ConfigError: too many or too long probes, or a backbone of an unusual number type.
    """
    if len(probes) > MAX_TEST_VECTORS or any(len(p.context) > MAX_TEST_TOKENS for p in probes):
        raise ConfigError(
            "too many or too long test inputs",
            got=f"{len(probes)} inputs of up to {max(len(p.context) for p in probes)} tokens",
            expected=f"at most {MAX_TEST_VECTORS} of at most {MAX_TEST_TOKENS} tokens",
        )
    outputs = _outputs(backbone, injection, probes, head)
    states = "next-tokens" not in backbone.reads
    if spec.mode == "pixels":
        return _kept(backbone, probes, outputs, "mask", _mask_shares(backbone, injection, probes))
    if spec.mode == "vector" or (spec.mode == "head" and states):
        found = _unit_vectors(backbone, injection, probes)[:, :_COORDINATES]
        return _kept(backbone, probes, outputs, "pooled", found)
    words: list[int] = []
    if spec.mode == "labels":
        words = [ids[0] for ids in spec.continuations(backbone.tokenizer)]
    scores = next_logprobs(backbone, injection, probes)
    made = []
    for probe, row, given in zip(probes, scores, outputs, strict=True):
        top = row.topk(min(TOP_TOKENS, len(row))).indices.tolist()
        ids = tuple(dict.fromkeys([*words, *top]))
        logprobs = tuple(round(value, _DECIMALS) for value in row[list(ids)].tolist())
        made.append(
            TestVector(
                context=probe.context,
                **_place(probe),
                mask=probe.mask,
                expected=Expected(token_ids=ids, logprobs=logprobs),
                dtype=_dtype_name(backbone),
                head=tuple(round(value, _DECIMALS) for value in given),
            )
        )
    return tuple(made)


def _place(probe: Encoded) -> dict[str, Any]:
    """Where the prompt stands, in the fields of a test vector."""
    first, *more = probe.placement.slots
    return {"slot": first, "more": tuple(more), "deal": probe.placement.sizes}


def _kept(
    backbone: Backbone,
    probes: Sequence[Encoded],
    outputs: Sequence[Sequence[float]],
    read: Literal["pooled", "mask"],
    found: Tensor,
) -> tuple[TestVector, ...]:
    """Of coordinates [N, K] each probe's."""
    return tuple(
        TestVector(
            context=probe.context,
            images=tuple(base64.b64encode(image.content).decode() for image in probe.images),
            **_place(probe),
            read=read,
            expected=Coordinates(coordinates=tuple(round(v, _DECIMALS + 2) for v in row)),
            dtype=_dtype_name(backbone),
            head=tuple(round(value, _DECIMALS) for value in given),
        )
        for probe, row, given in zip(probes, found.tolist(), outputs, strict=True)
    )


def _unit_vectors(backbone: Backbone, injection: Injection, probes: Sequence[Encoded]) -> Tensor:
    """[N, H] float32, on the CPU."""
    with torch.inference_mode():
        return embed_rows(backbone, probes, injection).cpu()


def _mask_shares(backbone: Backbone, injection: Injection, probes: Sequence[Encoded]) -> Tensor:
    """[N, K] float32 probabilities of a few cells, on the CPU."""
    with torch.inference_mode():
        return shares_of(mask_logits(backbone, probes, injection).cpu())


def shares_of(logits: Tensor) -> Tensor:
    """[..., K] what is kept of mask logits [..., C]: the probabilities of a few cells."""
    return logits[..., :: max(1, logits.shape[-1] // _COORDINATES)][..., :_COORDINATES].sigmoid()


def check_test_vectors(
    vectors: Sequence[TestVector],
    injection: Injection,
    backbone: Backbone,
    where: str,
    head: Head | None = None,
) -> None:
    """Run the test vectors and compare.

    Raises:
        ArtifactError: a test vector that does not fit the backbone, or another answer than saved.
    """
    for index, vector in enumerate(vectors):
        _check_well_formed(vector, backbone, f"{where}: test vector {index}")
    for read, run in _RUNS.items():
        numbered = [(i, v) for i, v in enumerate(vectors) if v.read == read]
        if not numbered:
            continue
        probes = [vector.encoded() for _, vector in numbered]
        rows = run(backbone, injection, probes)
        outputs = _outputs(backbone, injection, probes, head)
        for (index, vector), row, given in zip(numbered, rows, outputs, strict=True):
            place = f"{where}: test vector {index}"
            _check_answer(vector, row, given, _dtype_name(backbone), place)


def _check_answer(
    vector: TestVector, row: Tensor, given: Sequence[float], dtype: DtypeName, where: str
) -> None:
    expected = vector.expected
    if isinstance(expected, Coordinates):
        found, saved = row[: len(expected.coordinates)], expected.coordinates
        what, tolerance = "coordinates", COORDINATE_TOLERANCE
    else:
        found, saved = row[list(expected.token_ids)], expected.logprobs
        what, tolerance = "log-probabilities", TOLERANCE
    off = (found - torch.tensor(saved)).abs().max().item()
    head_off = _head_off(given, vector.head)
    if not (math.isnan(off) or head_off <= off):  # NaN is larger than any number
        what, off = "outputs of the head", head_off
    allowed = max(tolerance[vector.dtype], tolerance[dtype])
    # Written so that NaN fails.
    if not off <= allowed:
        raise ArtifactError(
            "the prompt does not answer as it did when it was saved",
            where=where,
            got=f"{what} that differ by up to {off:.3g}",
            expected=f"at most {allowed:g}",
            hint="the model's code, a library or the vectors changed; train the prompt again",
        )


def _check_well_formed(vector: TestVector, backbone: Backbone, where: str) -> None:
    expected = vector.expected
    if isinstance(expected, Coordinates):
        ids: tuple[int, ...] = ()
        counts, room = (len(expected.coordinates),) * 2, backbone.hidden_size
    else:
        ids, room = expected.token_ids, len(expected.token_ids)
        counts = len(ids), len(expected.logprobs)
    highest = max((*vector.context, *ids), default=0)
    if (
        not (vector.context or vector.images)
        or highest >= backbone.vocab_size
        or counts[0] != counts[1]
        or counts[0] > room
        or isinstance(expected, Coordinates) is (vector.read == "next")
        or max((vector.slot, *vector.more)) > len(vector.context)
        or len(vector.deal) not in (0, 1 + len(vector.more))
        or (vector.mask or 0) >= max(1, len(vector.context))
    ):
        raise ArtifactError(
            "a test vector is malformed",
            where=where,
            got=f"token id {highest}; {counts[0]} tokens, {counts[1]} values; slot {vector.slot}, "
            f"mask {vector.mask}",
            expected=f"token ids below {backbone.vocab_size}, one value for each, "
            f"a slot up to {len(vector.context)}, a mask before that",
        )


def next_logprobs(backbone: Backbone, injection: Injection, probes: Sequence[Encoded]) -> Tensor:
    """[N, V] float32 log-probabilities of the token after each probe, on the CPU."""
    batch = collate([(probe, ()) for probe in probes], read="next").to(backbone.device)
    with torch.inference_mode():
        logits = backbone.forward(batch, injection)
    return logits.float().log_softmax(-1).cpu()


_RUNS: Mapping[str, Callable[[Backbone, Injection, Sequence[Encoded]], Tensor]] = {
    "next": next_logprobs,
    "pooled": _unit_vectors,
    "mask": _mask_shares,
}


def _outputs(
    backbone: Backbone, injection: Injection, probes: Sequence[Encoded], head: Head | None
) -> list[list[float]]:
    """What the head gives for the state of each whole probe; nothing without a head."""
    if head is None:
        return [[] for _ in probes]
    whole = [replace(probe, at=()) for probe in probes]
    with torch.inference_mode():
        (states,) = read_for_heads(backbone, [HeadRows(whole, injection, head)])
        found: list[list[float]] = head(states).float().cpu().tolist()
    return found


def _head_off(found: Sequence[float], saved: Sequence[float]) -> float:
    """The largest difference, in shares of the largest output where that is above 1."""
    if len(found) != len(saved):
        return math.inf
    largest = max([1.0, *map(abs, saved)])
    off = [abs(a - b) / largest for a, b in zip(found, saved, strict=True)]
    return math.nan if any(map(math.isnan, off)) else max(off, default=0.0)


def _dtype_name(backbone: Backbone) -> DtypeName:
    name = dtype_name(backbone.dtype)
    if name is None:
        raise ConfigError(
            "test vectors cannot be made or checked in this dtype",
            where=backbone.name,
            got=backbone.dtype,
            expected=", ".join(TOLERANCE),
        )
    return name
