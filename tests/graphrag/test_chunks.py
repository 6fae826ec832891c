"""Chunks are as GraphRAG cuts them, and no character is cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cuecard.errors import ConfigError
from cuecard.graphrag.chunks import (
    ChunkSizes,
    EstimatedTokens,
    TiktokenTokens,
    TokenCounter,
    chunks_of,
    count,
    find_tokens,
    shortened,
    split,
)
from cuecard.graphrag.corpus import CorpusText

MIXED = "The résumé of 李小龍 (Bruce Lee) — Гонконг, 1973. 死亡遊戲は映画です。 {x} 👩‍🔬 naïve\n\n"


class Words:
    """A token for each word with the gap behind it."""

    name, exact = "words", True

    def starts(self, text: str) -> Sequence[int]:
        found, inside = [], False
        for place, sign in enumerate(text):
            if not sign.isspace() and not inside:
                found.append(place)
            inside = not sign.isspace()
        return found


def graphrag_windows(tokens: list[str], size: int, overlap: int) -> list[list[str]]:
    """GraphRAG 3's rule: windows at every size - overlap, until one reaches the end."""
    found, begin = [], 0
    while begin < len(tokens):
        found.append(tokens[begin : begin + size])
        if begin + size >= len(tokens):
            break
        begin += size - overlap
    return found


@pytest.mark.parametrize("length", [1, 2, 9, 10, 11, 13, 14, 100])
@pytest.mark.parametrize(("size", "overlap"), [(10, 0), (10, 3), (10, 9), (1, 0)])
def test_windows_are_graphrags(length: int, size: int, overlap: int) -> None:
    words = [f"w{number} " for number in range(length)]
    found = split("".join(words), Words(), size, overlap)
    expected = graphrag_windows(words, size, overlap)
    assert [text for text, _ in found] == ["".join(window) for window in expected]
    assert [tokens for _, tokens in found] == [len(window) for window in expected]


@pytest.mark.parametrize("tokens", [Words(), EstimatedTokens()], ids=["words", "estimated"])
def test_chunks_without_overlap_are_the_text(tokens: TokenCounter) -> None:
    text = MIXED * 5
    for size in (1, 2, 7):
        assert "".join(piece for piece, _ in split(text, tokens, size)) == text
    assert split("", tokens, 5) == []


def test_estimated_tokens_cover_a_text_and_are_about_as_many() -> None:
    tokens = EstimatedTokens()
    starts = tokens.starts(MIXED)
    assert starts[0] == 0 and list(starts) == sorted(set(starts))
    english = "The committee expects to hold its benchmark interest rate steady in 2024. " * 20
    # Byte-pair vocabularies of 200,000 have 15 tokens for this sentence.
    assert 13 * 20 <= count(english, tokens) <= 18 * 20


def test_chunks_are_named_and_carry_their_fields() -> None:
    texts = [
        CorpusText("a.csv, row 1", "one two three four", {"title": "T", "year": 1999, "no": None}),
        CorpusText("b.txt", "   "),
        CorpusText("c.txt", "five"),
    ]
    sizes = ChunkSizes(3, 1, ("title", "no", "year"))
    found = chunks_of(texts, Words(), sizes)
    assert [(each.name, each.text, each.tokens) for each in found] == [
        ("a.csv, row 1, chunk 1", "title: T.\nyear: 1999.\none two three ", 3),
        ("a.csv, row 1, chunk 2", "title: T.\nyear: 1999.\nthree four", 2),
        ("c.txt, chunk 1", "five", 1),
    ]


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (5, 5), (5, 6), (5, -1)])
def test_sizes_that_never_end_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(ConfigError, match="never get to the end"):
        ChunkSizes(size, overlap)


def test_a_text_is_shortened_at_a_sentence() -> None:
    text = "One two three. Four five six. Seven eight nine ten."
    assert shortened(text, Words(), 99) == text
    assert shortened(text, Words(), 7) == "One two three. Four five six."
    assert shortened(text, Words(), 2) == "One two"
    assert shortened("第一句です。第二句です。", EstimatedTokens(), 8) == "第一句です。"
    assert count(shortened(MIXED * 9, EstimatedTokens(), 12), EstimatedTokens()) <= 12


def test_tiktoken_counts_where_it_is_there() -> None:
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([number]): number for number in range(256)}
    encoding = tiktoken.Encoding("bytes", pat_str=r".", mergeable_ranks=ranks, special_tokens={})
    found = split("añ<|endoftext|>b", TiktokenTokens(encoding), 2)
    assert "".join(text for text, _ in found) == "añ<|endoftext|>b"


def test_tokens_are_found_or_estimated() -> None:
    assert find_tokens("o200k_base").name in ("o200k_base", "estimated")
