"""Texts cut into chunks of so many tokens that overlap, as GraphRAG cuts them before it indexes.

GraphRAG 3.x counts in tiktoken's `o200k_base` whatever the model. Where tiktoken or its vocabulary
is not there, tokens are estimated, so that chunks are about as long.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cuecard.errors import ConfigError
from cuecard.graphrag.corpus import CorpusText
from cuecard.lazy import lazy_module

if TYPE_CHECKING:
    import tiktoken
else:
    tiktoken = lazy_module("tiktoken")

ENCODING = "o200k_base"
"""GraphRAG 3.x's own."""

# About the pieces of such vocabularies: words up to eight letters with the space before them,
# three digits, marks, and one sign of a script without spaces.
_PIECE = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]| ?[^\W\d_]{1,8}?(?=[\u3040-\u30ff\u3400-\u9fff])"
    r"| ?[^\W\d_]{1,8}|\d{1,3}| ?(?:[^\w\s]|_){1,3}|\s",
)

# Where a sentence or a paragraph ends; Chinese and Japanese have no space there.
_ENDS = re.compile("[.!?][\"'\u201d\u2019)\\]]*(?=\\s|$)|[\u3002\uff01\uff1f]|\n\\s*\n")


class TokenCounter(Protocol):
    """Tokens of texts.

    Attributes:
        name: of the vocabulary.
        exact: whether they are GraphRAG's own.
    """

    name: str
    exact: bool

    def starts(self, text: str) -> Sequence[int]:
        """At which character each token begins; never less than that of the one before."""
        ...


class EstimatedTokens:
    """Tokens by rule."""

    name, exact = "estimated", False

    def starts(self, text: str) -> Sequence[int]:
        """See `TokenCounter`."""
        return [found.start() for found in _PIECE.finditer(text)]


class TiktokenTokens:
    """Tokens of a vocabulary of tiktoken's.

    Args:
        encoding: the vocabulary, such as `tiktoken.get_encoding("o200k_base")`.
    """

    exact = True

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self.name, self._encoding = encoding.name, encoding

    def starts(self, text: str) -> Sequence[int]:
        """See `TokenCounter`; marks such as <|endoftext|> in a text are text."""
        ids = self._encoding.encode_ordinary(text)
        return list(self._encoding.decode_with_offsets(ids)[1])


def find_tokens(encoding: str = ENCODING) -> TokenCounter:
    """GraphRAG's tokens if they can be had, else estimated ones.

    Args:
        encoding: the project's own, by tiktoken's name.

    Raises:
        ConfigError: tiktoken has no such vocabulary.
    """
    try:
        return TiktokenTokens(tiktoken.get_encoding(encoding))
    except ImportError:
        return EstimatedTokens()
    except ValueError as error:
        raise ConfigError(
            "tiktoken has no such vocabulary", where="chunking.encoding_model", got=encoding
        ) from error
    except OSError:  # it fetches the vocabulary when it is first asked for
        return EstimatedTokens()


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """How texts are cut.

    Attributes:
        size: tokens of a chunk.
        overlap: tokens that a chunk shares with the one before.
        fields: of a document that stand before each of its chunks, `prepend_metadata`.

    Raises:
        ConfigError: chunks that would never get to the end of a text.
    """

    size: int = 1200
    overlap: int = 100
    fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.overlap < self.size:
            raise ConfigError(
                "chunks of this size and overlap never get to the end of a text",
                where="chunking",
                got=f"size {self.size}, overlap {self.overlap}",
                expected="a size of 1 or more, and an overlap that is smaller",
            )


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document.

    Attributes:
        source: the document's name.
        number: in the document, from 1.
        tokens: in its text.
    """

    source: str
    number: int
    text: str
    tokens: int

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.source}, chunk {self.number}"


def chunks_of(
    texts: Sequence[CorpusText], tokens: TokenCounter, sizes: ChunkSizes = ChunkSizes()
) -> list[Chunk]:
    """Every text's chunks, in order; a chunk of nothing but white space is left out."""
    found: list[Chunk] = []
    for each in texts:
        ahead = _ahead(each.fields, sizes.fields)
        pieces = split(each.text, tokens, sizes.size, sizes.overlap)
        found += [
            Chunk(each.name, number, ahead + text, count)
            for number, (text, count) in enumerate(pieces, 1)
            if text.strip()
        ]
    return found


def split(text: str, tokens: TokenCounter, size: int, overlap: int = 0) -> list[tuple[str, int]]:
    """A text's chunks, each with its number of tokens. No character is cut into halves."""
    starts = list(tokens.starts(text))
    if not starts:
        return []
    starts[0] = 0
    begins = range(0, max(1, len(starts) - overlap), size - overlap)
    found = []
    for begin in begins:
        end = min(begin + size, len(starts))
        until = len(text) if end == len(starts) else starts[end]
        found.append((text[starts[begin] : until], end - begin))
    return found


def shortened(text: str, tokens: TokenCounter, most: int) -> str:
    """A text's beginning of at most so many tokens, to the end of a sentence if there is one."""
    text = text.strip()
    starts = tokens.starts(text)
    if len(starts) <= most:
        return text
    kept = text[: starts[most]]
    ends = [found.end() for found in _ENDS.finditer(kept)]
    half = [end for end in ends if end > len(kept) // 2]
    return kept[: half[-1]].rstrip() if half else _to_a_gap(kept)


def _to_a_gap(text: str) -> str:
    """A text without the word that it was cut in."""
    gaps = [here.start() for here in re.finditer(r"\s", text)]
    return text[: gaps[-1]].rstrip() if gaps and gaps[-1] > len(text) // 2 else text.rstrip()


def count(text: str, tokens: TokenCounter) -> int:
    """How many tokens a text has."""
    return len(tokens.starts(text))


def _ahead(fields: Mapping[str, Any], names: Sequence[str]) -> str:
    """Fields as GraphRAG writes them before a chunk."""
    return "".join(f"{name}: {fields[name]}.\n" for name in names if fields.get(name) is not None)
