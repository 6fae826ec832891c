"""Chunks that stand for a corpus: chosen by chance, from its beginning, all, or far apart."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from cuecard.graphrag.chunks import Chunk
from cuecard.lazy import lazy_module, np

if TYPE_CHECKING:
    from sklearn import cluster
else:
    cluster = lazy_module("sklearn.cluster")

SelectionMethod = Literal["random", "top", "all", "diverse"]

Embed = Callable[[Sequence[str]], "np.ndarray[Any, Any]"]
"""Texts -> [n, H] vectors of unit length."""

MOST_EMBEDDED = 1000
"""Of a larger corpus, as many chunks are embedded, drawn by chance."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How well chosen chunks stand for a corpus.

    Attributes:
        chunks, of: how many were chosen of how many.
        documents, of_documents: how many of the documents they are from.
        tokens: their share of all tokens.
        similarity: the mean over embedded chunks of the cosine to the chosen one that is most like
            it; None without embeddings.
        by_chance: the same of as many chunks drawn by chance.
    """

    chunks: int
    of: int
    documents: int
    of_documents: int
    tokens: float
    similarity: float | None = None
    by_chance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return asdict(self)


@dataclass(frozen=True)
class ChunkSample:
    """Chunks that were chosen: those first that stand for most of the corpus."""

    chunks: tuple[Chunk, ...]
    coverage: Coverage


def select(
    chunks: Sequence[Chunk],
    method: SelectionMethod,
    limit: int,
    seed: int,
    embed: Embed | None = None,
) -> ChunkSample:
    """Choose at most `limit` chunks; the same seed chooses the same ones.

    Args:
        chunks: one or more.
        embed: for "diverse", which chooses the medoids of k-means clusters.
    """
    draw = random.Random(seed)
    if method == "diverse":
        assert embed is not None
        return _diverse(chunks, limit, seed, draw, embed)
    if method == "random":
        numbers = draw.sample(range(len(chunks)), min(limit, len(chunks)))
    else:
        numbers = list(range(len(chunks) if method == "all" else min(limit, len(chunks))))
    return ChunkSample(tuple(chunks[number] for number in numbers), _coverage(chunks, numbers))


def _diverse(
    chunks: Sequence[Chunk], limit: int, seed: int, draw: random.Random, embed: Embed
) -> ChunkSample:
    pool = sorted(draw.sample(range(len(chunks)), min(MOST_EMBEDDED, len(chunks))))
    vectors = np.asarray(embed([chunks[number].text for number in pool]), dtype=np.float64)
    chosen = medoids(vectors, limit, seed)
    near, far = vectors @ vectors[chosen].T, []
    for _ in range(20):
        others = draw.sample(range(len(pool)), len(chosen))
        far.append(float((vectors @ vectors[others].T).max(axis=1).mean()))
    numbers = [pool[each] for each in chosen]
    similarity = float(near.max(axis=1).mean()), sum(far) / len(far)
    return ChunkSample(
        tuple(chunks[number] for number in numbers), _coverage(chunks, numbers, *similarity)
    )


def medoids(vectors: np.ndarray[Any, Any], most: int, seed: int) -> list[int]:
    """The rows nearest to the centres of k-means clusters, those of larger clusters first.

    Args:
        vectors: [n, H]; equal ones count as one.
        most: clusters; fewer where there are fewer different vectors.
    """
    _, firsts = np.unique(vectors.round(6), axis=0, return_index=True)
    k = min(most, len(firsts))
    if k == len(firsts):
        return sorted(int(number) for number in firsts)
    found = cluster.KMeans(k, n_init=4, random_state=seed).fit(vectors)
    groups = [np.flatnonzero(found.labels_ == label) for label in range(k)]
    chosen = []
    for label, group in sorted(enumerate(groups), key=lambda each: (-len(each[1]), each[1][0])):
        away = np.linalg.norm(vectors[group] - found.cluster_centers_[label], axis=1)
        chosen.append(int(group[int(away.argmin())]))
    return chosen


def _coverage(
    chunks: Sequence[Chunk],
    numbers: Sequence[int],
    similarity: float | None = None,
    by_chance: float | None = None,
) -> Coverage:
    chosen = [chunks[number] for number in numbers]
    tokens = sum(each.tokens for each in chosen) / sum(each.tokens for each in chunks)
    return Coverage(
        chunks=len(chosen),
        of=len(chunks),
        documents=len({each.source for each in chosen}),
        of_documents=len({each.source for each in chunks}),
        tokens=tokens,
        similarity=similarity,
        by_chance=by_chance,
    )
