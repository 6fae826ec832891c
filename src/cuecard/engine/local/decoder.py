"""Keys and values of the answers being decoded, in blocks of rows of similar length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cuecard.backbones import CausalBackbone
from cuecard.backbones.forward.ragged import RaggedRun
from cuecard.backbones.kernels.decoding import Block
from cuecard.engine.local.kv_cache import capacity_for
from cuecard.engine.local.requests import GenerateRequest
from cuecard.engine.local.sampling import not_finite, sample
from cuecard.engine.protocol import Token
from cuecard.errors import CuecardError

# A block's rows are as long as its longest to attention.
_BLOCK_ROWS = 16

Sampled = tuple[GenerateRequest, Token | CuecardError]


@dataclass(eq=False, slots=True)
class DecodeBatch:
    """A block and the answers whose rows are in it."""

    block: Block
    answers: list[GenerateRequest] = field(default_factory=list)

    def remove(self, index: int) -> None:
        """Free an answer's row; the last one takes its place."""
        self.block.leave(index)
        self.answers[index] = self.answers[-1]
        self.answers.pop()


class Decoder:
    """Answers being decoded, one token a pass."""

    def __init__(self, backbone: CausalBackbone, run: RaggedRun) -> None:
        self._backbone, self._run = backbone, run
        self._batches: list[DecodeBatch] = []

    @property
    def live(self) -> int:
        """How many answers are being decoded."""
        return sum(len(batch.answers) for batch in self._batches)

    @property
    def nbytes(self) -> int:
        """Of their keys and values."""
        tokens = sum(int(batch.block.lengths.sum()) for batch in self._batches)
        return tokens * self._run.shape.token_bytes

    def inputs(self) -> list[tuple[Block, Tensor]]:
        """Every block with live rows, and their tokens' embeddings [n, H]."""
        return [(batch.block, self._embed(batch.answers)) for batch in self._batches]

    def sample(self, decoded: Sequence[Tensor]) -> list[Sampled]:
        """Sample every answer's next token from the blocks' logits; rows that end are freed."""
        found: list[Sampled] = []
        for batch, logits in zip(list(self._batches), decoded, strict=True):
            sampled = self._sample(batch.answers, logits)
            found += sampled
            for index in reversed(range(len(sampled))):
                answer, token = sampled[index]
                if answer.ends_with(token) is not None:
                    batch.remove(index)
        self._drop_empty()
        return found

    def sample_first(self, answer: GenerateRequest, logits: Tensor) -> Sampled:
        """Sample an answer's first token from logits [1, V]."""
        return self._sample([answer], logits)[0]

    def admit(self, answer: GenerateRequest, pieces: Sequence[Tensor], left: int) -> None:
        """Decode an answer from the next pass on.

        Args:
            pieces: keys and values of all that precedes it.
            left: how many tokens may come after its first.
        """
        before = sum(piece.shape[3] for piece in pieces)
        batch = self._batch(capacity_for(before + left))
        batch.block.join(pieces)
        batch.answers.append(answer)

    def remove_finished(self) -> None:
        """Free the rows of answers that nobody waits for."""
        for batch in self._batches:
            for index in reversed(range(len(batch.answers))):
                if batch.answers[index].finished:
                    batch.remove(index)
        self._drop_empty()

    def clear(self) -> None:
        """Free every row."""
        self._batches = []

    def _drop_empty(self) -> None:
        self._batches = [batch for batch in self._batches if batch.answers]

    def _batch(self, capacity: int) -> DecodeBatch:
        for batch in self._batches:
            if batch.block.capacity == capacity and not batch.block.full:
                return batch
        self._batches.append(DecodeBatch(self._run.block(_BLOCK_ROWS, capacity)))
        return self._batches[-1]

    def _embed(self, answers: Sequence[GenerateRequest]) -> Tensor:
        plain = self._backbone.tensors(None)
        found = self._run.embed([answer.last for answer in answers], plain)
        shifted = [n for n, answer in enumerate(answers) if answer.place < answer.shifts]
        if shifted:
            found = found.clone()
        for number in shifted:
            answer = answers[number]
            assert answer.sequence.prompt is not None
            given = self._backbone.tensors(answer.sequence.prompt.injection)
            found[number] = self._run.embed([answer.last], given, answer.place)[0]
        return found

    def _sample(self, answers: Sequence[GenerateRequest], logits: Tensor) -> list[Sampled]:
        with torch.inference_mode():
            tokens = sample(logits, [answer.sampler for answer in answers])
        name = self._backbone.name
        return [
            (answer, not_finite(name) if token is None else token)
            for answer, token in zip(answers, tokens, strict=True)
        ]
