"""Chunks are chosen by one seed, from one chunk up, and diverse ones cover a corpus better."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cuecard.graphrag.chunks import Chunk
from cuecard.graphrag.selection import MOST_EMBEDDED, medoids, select

TOPICS = 6


def corpus(count: int) -> list[Chunk]:
    """Half of the chunks are of the first topic."""
    draw = random.Random(0)
    topics = [0 if number % 2 else draw.randrange(TOPICS) for number in range(count)]
    return [
        Chunk(f"{number // 10}.txt", number, f"topic {topic} {number}", 10 + number % 3)
        for number, topic in enumerate(topics)
    ]


def embed(texts: Sequence[str]) -> np.ndarray[Any, Any]:
    """A direction for each topic, and a little of each text's own."""
    found = np.zeros((len(texts), TOPICS + 2))
    for row, text in zip(found, texts, strict=True):
        _, topic, number = text.split()
        row[int(topic)] = 1
        row[TOPICS:] = random.Random(number).uniform(-0.2, 0.2)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("method", ["random", "top", "all", "diverse"])
@pytest.mark.parametrize("count", [1, 2, 14, 300])
def test_any_corpus_can_be_chosen_from(method: Any, count: int) -> None:
    chunks = corpus(count)
    found = select(chunks, method, 15, 3, embed)
    assert len(found.chunks) == (count if method == "all" else min(15, count))
    assert len(set(found.chunks)) == len(found.chunks) and set(found.chunks) <= set(chunks)
    assert found == select(chunks, method, 15, 3, embed)
    coverage = found.coverage
    assert (coverage.chunks, coverage.of) == (len(found.chunks), count)
    assert 0 < coverage.tokens <= 1 and 1 <= coverage.documents <= coverage.of_documents
    if method in ("random", "diverse") and count == 300:
        assert found != select(chunks, method, 15, 4, embed)


def test_diverse_chunks_have_every_topic_and_cover_more_than_chance() -> None:
    chunks = corpus(300)
    found = select(chunks, "diverse", TOPICS, 0, embed)
    assert {each.text.split()[1] for each in found.chunks} == set(map(str, range(TOPICS)))
    assert found.chunks[0].text.startswith("topic 0 ")  # of the largest cluster
    assert found.coverage.similarity is not None and found.coverage.by_chance is not None
    assert found.coverage.similarity > found.coverage.by_chance
    # Each one that was chosen is one of those that were embedded, and is most like itself.
    assert select(chunks, "diverse", 300, 0, embed).coverage.similarity == pytest.approx(1.0)


def test_equal_chunks_count_once() -> None:
    vectors = np.array([[1.0, 0], [1.0, 0], [0, 1.0], [1.0, 0]])
    assert medoids(vectors, 3, 0) == [0, 2]
    assert medoids(vectors[:1], 5, 0) == [0]


def test_of_a_large_corpus_a_part_is_embedded() -> None:
    asked = []

    def counted(texts: Sequence[str]) -> np.ndarray[Any, Any]:
        asked.extend(texts)
        return embed(texts)

    chunks = corpus(MOST_EMBEDDED + 200)
    found = select(chunks, "diverse", 4, 0, counted)
    assert len(set(asked)) == MOST_EMBEDDED
    assert {each.text for each in found.chunks} <= set(asked)
