"""Test vectors: a few inputs and the scores the prompt gave, checked whenever it is loaded.

A checksum shows that the bytes are the saved ones. Only running them shows that prompt, backbone,
tokenizer and library versions together still answer as they did.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cuecard.artifacts.manifest import (
    MAX_TEST_TOKENS,
    MAX_TEST_VECTORS,
    DtypeName,
    Expected,
    Manifest,
    TestVector,
)
from cuecard.errors import ArtifactError, ConfigError
from cuecard.tasks.batching import collate
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Encoded, Injection, Record, Slot

TOP_TOKENS = 5
# Largest difference of a log-probability that rounding explains, by the coarser of the two types.
TOLERANCE: dict[DtypeName, float] = {
    "float64": 2e-3,
    "float32": 2e-3,
    "float16": 0.1,
    "bfloat16": 0.5,
}
# Fewer digits than rounding leaves sure: the digest should not hang on the last bit of a kernel.
_DECIMALS = 4
_DTYPES: dict[torch.dtype, DtypeName] = {getattr(torch, name): name for name in TOLERANCE}
_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Nobody wanted 12 of these, not even one.",
)


def default_probes(spec: TaskSpec, backbone: Backbone, slot: Slot) -> list[Encoded]:
    """Fixed texts in the task's own template, so that no user's data ends up in an artefact."""
    records = [Record(dict.fromkeys(spec.field_names, text), target=None) for text in _TEXTS]
    return [spec.encode(record, backbone.tokenizer, slot) for record in records]


def make_test_vectors(
    backbone: Backbone, spec: TaskSpec, injection: Injection, probes: Sequence[Encoded]
) -> tuple[TestVector, ...]:
    """Score the token after each probe: the label words' first tokens and the most likely ones.

    Raises:
        ConfigError: too many or too long probes, or a backbone of an unusual number type.
    """
    if len(probes) > MAX_TEST_VECTORS or any(len(p.context) > MAX_TEST_TOKENS for p in probes):
        raise ConfigError(
            "too many or too long test inputs for an artefact",
            got=f"{len(probes)} inputs of up to {max(len(p.context) for p in probes)} tokens",
            expected=f"at most {MAX_TEST_VECTORS} of at most {MAX_TEST_TOKENS} tokens",
        )
    words: list[int] = []
    if spec.kind == "classification":
        words = [ids[0] for ids in spec.continuations(backbone.tokenizer)]
    scores = next_logprobs(backbone, injection, probes)
    made = []
    for probe, row in zip(probes, scores, strict=True):
        top = row.topk(min(TOP_TOKENS, len(row))).indices.tolist()
        ids = tuple(dict.fromkeys([*words, *top]))
        logprobs = tuple(round(value, _DECIMALS) for value in row[list(ids)].tolist())
        made.append(
            TestVector(
                context=probe.context,
                slot=probe.slot,
                mask=probe.mask,
                expected=Expected(token_ids=ids, logprobs=logprobs),
                dtype=_dtype_name(backbone),
            )
        )
    return tuple(made)


def check_test_vectors(
    manifest: Manifest, injection: Injection, backbone: Backbone, where: str
) -> None:
    """Run the test vectors and compare.

    Raises:
        ArtifactError: a test vector that does not fit the backbone, or another answer than saved.
    """
    for index, vector in enumerate(manifest.test_vectors):
        _check_well_formed(vector, backbone, f"{where}: test vector {index}")
    probes = [Encoded(v.context, (), v.slot, mask=v.mask) for v in manifest.test_vectors]
    scores = next_logprobs(backbone, injection, probes)
    for index, (vector, row) in enumerate(zip(manifest.test_vectors, scores, strict=True)):
        found = row[list(vector.expected.token_ids)]
        off = (found - torch.tensor(vector.expected.logprobs)).abs().max().item()
        allowed = max(TOLERANCE[vector.dtype], TOLERANCE[_dtype_name(backbone)])
        # Written so that NaN fails.
        if not off <= allowed:
            raise ArtifactError(
                "the prompt does not answer as it did when it was saved",
                where=f"{where}: test vector {index}",
                got=f"log-probabilities that differ by up to {off:.3g}",
                expected=f"at most {allowed:g}",
                hint="the model's code or the vectors changed; train the prompt again",
            )


def _check_well_formed(vector: TestVector, backbone: Backbone, where: str) -> None:
    highest = max(*vector.context, *vector.expected.token_ids)
    counts = len(vector.expected.token_ids), len(vector.expected.logprobs)
    if (
        highest >= backbone.vocab_size
        or counts[0] != counts[1]
        or vector.slot > len(vector.context)
        or (vector.mask or 0) >= len(vector.context)
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


def _dtype_name(backbone: Backbone) -> DtypeName:
    if backbone.dtype not in _DTYPES:
        raise ConfigError(
            "test vectors cannot be made or checked in this number type",
            where=backbone.name,
            got=backbone.dtype,
            expected=", ".join(TOLERANCE),
        )
    return _DTYPES[backbone.dtype]
