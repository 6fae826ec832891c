"""The answers being written: which row stands where, and what each says next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cuecard.backbones import CausalBackbone
from cuecard.backbones.forward.ragged import RaggedRun
from cuecard.backbones.kernels.decoding import Block
from cuecard.engine.local.requests import GenerateRequest
from cuecard.engine.local.sampling import sample
from cuecard.engine.protocol import Finished, Token
from cuecard.errors import BackboneError

# Rows of similar length stand together: a block's rows are as long as its longest to attention.
_BLOCK_ROWS = 16
_SHORTEST = 64

Sampled = tuple[GenerateRequest, Token | Finished | Exception]


@dataclass(eq=False, slots=True)
class DecodeBatch:
    """A block and whose rows stand in it."""

    block: Block
    rows: list[GenerateRequest] = field(default_factory=list)


class Decoder:
    """Answers being written, one token a pass.

    Args:
        rows: the most at a time.
        nbytes: the most that their keys and values may take; one answer is always let in.
    """

    def __init__(self, backbone: CausalBackbone, run: RaggedRun, rows: int, nbytes: int) -> None:
        self._backbone, self._run = backbone, run
        self._most, self._nbytes = rows, nbytes
        self._benches: list[DecodeBatch] = []
        self.live, self._reserved, self._held = 0, 0, 0

    def reserve(self, call: GenerateRequest) -> bool:
        """Keep room for an answer with what comes before it; False if there is none now."""
        if call.reserved:
            return True
        need = capacity_for(call.longest) * self._run.shape.token_bytes
        if self._held >= self._most or (self._held and self._reserved + need > self._nbytes):
            return False
        call.reserved = need
        self._reserved += need
        self._held += 1
        return True

    def release(self, call: GenerateRequest) -> None:
        """The row is over, or never began."""
        if call.reserved:
            self._reserved -= call.reserved
            self._held -= 1
            call.reserved = 0

    def begin(
        self, call: GenerateRequest, logits: Tensor, pieces: Sequence[Tensor]
    ) -> list[Sampled]:
        """Choose a row's first token from logits [1, V], and let it go on behind its pieces."""
        said = self._choose([call], logits)
        if call.over:
            self.release(call)
            return said
        before = sum(piece.shape[3] for piece in pieces)
        bench = self._bench(capacity_for(before + call.left))
        bench.block.join(pieces)
        bench.rows.append(call)
        self.live += 1
        return said

    def next(self) -> list[tuple[Block, Tensor]]:
        """Every block with live rows, and their tokens' embeddings [n, H]."""
        return [(bench.block, self._embed(bench.rows)) for bench in self._benches]

    def hear(self, decoded: Sequence[Tensor]) -> list[Sampled]:
        """Choose every row's next token from the blocks' logits, and let go of those at an end."""
        said: list[Sampled] = []
        for bench, logits in zip(list(self._benches), decoded, strict=True):
            said += self._choose(bench.rows, logits)
            self._drop(bench)
        self._benches = [bench for bench in self._benches if bench.rows]
        return said

    def drop_cancelled(self) -> None:
        """Let go of rows that nobody waits for."""
        for bench in self._benches:
            for call in bench.rows:
                call.over = call.over or call.cancelled
            self._drop(bench)
        self._benches = [bench for bench in self._benches if bench.rows]

    def drop_all(self) -> list[GenerateRequest]:
        """Let go of every row: whose they were, and who has yet to be told."""
        rows = [call for bench in self._benches for call in bench.rows]
        for call in rows:
            self.release(call)
        self._benches, self.live = [], 0
        return rows

    @property
    def nbytes(self) -> int:
        """Of the keys and values of live rows."""
        tokens = sum(int(bench.block.lengths.sum()) for bench in self._benches)
        return tokens * self._run.shape.token_bytes

    def _bench(self, capacity: int) -> DecodeBatch:
        for bench in self._benches:
            if bench.block.capacity == capacity and not bench.block.full:
                return bench
        self._benches.append(DecodeBatch(self._run.block(_BLOCK_ROWS, capacity)))
        return self._benches[-1]

    def _embed(self, rows: Sequence[GenerateRequest]) -> Tensor:
        plain = self._backbone.tensors(None)
        found = self._run.embed([call.last for call in rows], plain)
        shifted = [n for n, call in enumerate(rows) if call.place < call.shifts]
        if shifted:
            found = found.clone()
        for number in shifted:
            call = rows[number]
            assert call.row.prompt is not None
            given = self._backbone.tensors(call.row.prompt.injection)
            found[number] = self._run.embed([call.last], given, call.place)[0]
        return found

    def _choose(self, rows: Sequence[GenerateRequest], logits: Tensor) -> list[Sampled]:
        with torch.inference_mode():
            tokens = sample(logits, [call.sampler for call in rows])
        said: list[Sampled] = []
        for call, token in zip(rows, tokens, strict=True):
            if token is None:
                said.append((call, not_finite(self._backbone.name)))
            elif isinstance(token, Exception):
                said.append((call, token))
            elif token.id in call.stops:
                said.append((call, Finished("stop")))
            else:
                said.append((call, token))
                call.left -= 1
                call.last = token.id
                if call.left and not call.sampler.finished:
                    continue
                said.append((call, Finished("stop" if call.sampler.finished else "length")))
            call.over = True
        return said

    def _drop(self, bench: DecodeBatch) -> None:
        """Let go of a bench's rows that are over."""
        for place in reversed(range(len(bench.rows))):
            if not bench.rows[place].over:
                continue
            self.release(bench.rows[place])
            bench.block.leave(place)
            bench.rows[place] = bench.rows[-1]
            bench.rows.pop()
            self.live -= 1


def capacity_for(tokens: int) -> int:
    """Room that is kept for a row of so many tokens: powers of two."""
    return max(_SHORTEST, 1 << (tokens - 1).bit_length())


def not_finite(where: str) -> BackboneError:
    """A prompt that the backbone makes no numbers of."""
    return BackboneError(
        "this prompt and input give no finite scores",
        where=where,
        got="NaN or infinity",
        expected="a prompt trained for this backbone",
    )
