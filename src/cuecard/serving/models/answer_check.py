"""Run a prompt's test vectors through an engine, the way requests go.

`Prompt.load` checks them on a backbone; this checks any engine. Scores may differ by the tolerance
of the coarsest dtype, since engines compute in different ways. Coordinates of embeddings are so
small that any prompt would pass that bound: they must meet the tolerance of their own dtype.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from cuecard.artifacts.test_vectors import (
    COORDINATE_TOLERANCE,
    TOLERANCE,
    Coordinates,
    Expected,
    TestVector,
    dtype_name,
    shares_of,
)
from cuecard.engine.protocol import Embedding, Engine, Scoring, Segments
from cuecard.errors import ArtifactError, ConfigError
from cuecard.serving.models.catalog import ServedPrompt

_ALLOWED = max(TOLERANCE.values())


async def check_answers(engine: Engine, served: ServedPrompt) -> None:
    """Compare an engine's answers to a prompt's test vectors with the saved ones.

    Raises:
        ArtifactError: scores or embeddings differ from the saved ones.
        ConfigError: a prompt in several places of its template, or one for embeddings on an engine
            that makes none.
        CuecardError: a test vector that the engine cannot run.
    """
    tests = served.prompt.manifest.test_vectors
    for test in tests:
        if test.more:
            raise ConfigError(
                "a prompt in several places of its template cannot be served",
                where=str(served),
                got=f"{1 + len(test.more)} places",
                expected="one",
            )
    scored = [(test, test.expected) for test in tests if isinstance(test.expected, Expected)]
    pooled = [(test, test.expected) for test in tests if isinstance(test.expected, Coordinates)]
    await _check_scores(engine, served, scored)
    await _check_vectors(engine, served, pooled)
    await _check_heads(engine, served, [test for test in tests if test.head])


async def _check_scores(
    engine: Engine, served: ServedPrompt, tests: Sequence[tuple[TestVector, Expected]]
) -> None:
    rows = [
        Scoring(served.held, test.encoded(), tuple((token,) for token in expected.token_ids))
        for test, expected in tests
    ]
    found = await engine.score(rows) if rows else []
    for (_, expected), scores in zip(tests, found, strict=True):
        _compare(expected.logprobs, scores, _ALLOWED, "log-probabilities", served)


async def _check_heads(engine: Engine, served: ServedPrompt, tests: Sequence[TestVector]) -> None:
    head = served.prompt.head() if served.scores_labels else None
    if head is None or not tests:
        return
    found = await engine.score([Scoring(served.held, each.encoded(), head=head) for each in tests])
    for test, scores in zip(tests, found, strict=True):
        _compare(test.head, scores, _ALLOWED, "outputs of the head", served)


async def _check_vectors(
    engine: Engine, served: ServedPrompt, tests: Sequence[tuple[TestVector, Coordinates]]
) -> None:
    masks = [(test, expected) for test, expected in tests if test.read == "mask"]
    found = await _mask_shares(engine, served, [test for test, _ in masks])
    others = [(test, expected) for test, expected in tests if test.read != "mask"]
    rows = [Embedding(served.held, test.encoded()) for test, _ in others]
    found += await engine.embed(rows) if rows else []
    for (test, expected), vector in zip([*masks, *others], found, strict=True):
        wanted = expected.coordinates
        dtypes = test.dtype, dtype_name(engine.dtype) or test.dtype
        allowed = max(COORDINATE_TOLERANCE[dtype] for dtype in dtypes)
        _compare(wanted, vector[: len(wanted)].tolist(), allowed, "coordinates", served)


async def _mask_shares(
    engine: Engine, served: ServedPrompt, tests: Sequence[TestVector]
) -> list[Tensor]:
    if not tests:
        return []
    if not isinstance(engine, Segments):
        raise ConfigError(
            "a prompt that finds parts of images cannot be served by this engine",
            where=str(served),
            got=engine.name,
            expected="the local engine",
        )
    found = await engine.segment([Embedding(served.held, test.encoded()) for test in tests])
    return [shares_of(logits) for logits in found]


def _compare(
    wanted: Sequence[float], found: Sequence[float], allowed: float, what: str, served: ServedPrompt
) -> None:
    if len(wanted) != len(found):
        raise ArtifactError(
            "a test vector is malformed",
            where=str(served),
            got=f"{len(wanted)} {what}",
            expected=f"{len(found)}",
        )
    off = max(abs(a - b) for a, b in zip(found, wanted, strict=True))
    # Written so that NaN fails.
    if not off <= allowed:
        raise ArtifactError(
            "the prompt does not answer as it did when it was saved",
            where=str(served),
            got=f"{what} that differ by up to {off:.3g}",
            expected=f"at most {allowed:g}",
        )
