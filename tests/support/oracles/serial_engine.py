"""The engine's protocol in its plainest form: a backbone asked one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cuecard.artifacts import Prompt, check_backbone
from cuecard.engine.protocol import Embedding, Finished, Generation, Guide, Held, Scoring, Token
from cuecard.errors import BackboneError
from cuecard.evaluation.heads import head_outputs
from cuecard.tasks.encoding.batching import collate, mask_logits
from cuecard.tasks.encoding.pooling import embed_rows
from cuecard.types import Encoded, Placement


class SerialEngine:
    """Answers as `cuecard.evaluation.predict` does, token by token.

    Attributes:
        held: digests that it was told to hold.
        generating: how many generations are open now.
        steps: tokens computed.
        pause: waited for before every token; a test opens and closes it.
    """

    name = "serial"

    def __init__(self, backbone: Any) -> None:
        self.backbone = backbone
        self.tokenizer = backbone.tokenizer
        self.max_positions = backbone.max_positions
        self.dtype = backbone.dtype
        self.images = None if "text" in backbone.takes else backbone.processor
        self.embedding_size = backbone.hidden_size if "states" in backbone.reads else None
        self.held: set[str] = set()
        self.generating = 0
        self.steps = 0
        self.pause = asyncio.Event()
        self.pause.set()

    def refuses(self, prompt: Prompt) -> None:
        check_backbone(prompt.manifest.backbone, self.backbone)

    async def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        self.held.clear()

    async def hold(self, prompt: Held) -> None:
        self.held.add(prompt.digest)

    async def drop(self, digest: str) -> None:
        self.held.discard(digest)

    async def score(self, rows: Sequence[Scoring]) -> list[list[float]]:
        return [self._score(row) for row in rows]

    async def embed(self, rows: Sequence[Embedding]) -> list[Tensor]:
        return [self._embed(row) for row in rows]

    async def segment(self, rows: Sequence[Embedding]) -> list[Tensor]:
        return [self._segment(row) for row in rows]

    async def generate(self, request: Generation) -> AsyncIterator[Token | Finished]:
        sampling = request.sampling
        self.generating += 1
        try:
            dice = torch.Generator()
            if sampling.seed is not None:
                dice.manual_seed(sampling.seed)
            stops = {self.tokenizer.eos_token_id, *sampling.stop_ids}
            context = list(request.context)
            self._check(len(context) + sampling.max_new_tokens)
            guide = None if sampling.grammar is None else sampling.grammar.guide()
            for _ in range(sampling.max_new_tokens):
                await self.pause.wait()
                await asyncio.sleep(0)
                token = self._next(request, context, dice, guide, stops)
                self.steps += 1
                if token.id in stops:
                    yield Finished("stop")
                    return
                context.append(token.id)
                yield token
                if guide is not None:
                    guide.accept(token.id)
                    if guide.finished:
                        yield Finished("stop")
                        return
            yield Finished("length")
        finally:
            self.generating -= 1

    def generate_choices(
        self, requests: Sequence[Generation]
    ) -> list[AsyncIterator[Token | Finished]]:
        return [self.generate(request) for request in requests]

    def stats(self) -> Mapping[str, float]:
        return {"prompts": len(self.held), "generating": self.generating, "steps": self.steps}

    @torch.inference_mode()
    def _score(self, row: Scoring) -> list[float]:
        injection = None if row.prompt is None else row.prompt.injection
        if row.head is not None:
            self._check(row.row.positions)
            (found,) = head_outputs(self.backbone, [row.row], injection, row.head, batch_rows=1)
            return [float(value) for value in found[-1]]
        self._check(len(row.row.context) + max(map(len, row.words)))
        batch = collate([(row.row, word) for word in row.words])
        (reads,) = self.backbone.read_many([(batch, injection)])
        logs = -reads.nll(batch.target_ids).double()
        sums = torch.zeros(len(row.words), dtype=torch.float64)
        return [float(value) for value in sums.index_add(0, batch.read_rows, logs)]

    @torch.inference_mode()
    def _embed(self, row: Embedding) -> Tensor:
        self._check(row.row.positions)
        self.steps += 1
        injection = None if row.prompt is None else row.prompt.injection
        return embed_rows(self.backbone, [row.row], injection)[0]

    @torch.inference_mode()
    def _segment(self, row: Embedding) -> Tensor:
        self.steps += 1
        injection = None if row.prompt is None else row.prompt.injection
        return mask_logits(self.backbone, [row.row], injection)[0]

    @torch.inference_mode()
    def _next(
        self,
        request: Generation,
        context: Sequence[int],
        dice: torch.Generator,
        guide: Guide | None,
        stops: Collection[int],
    ) -> Token:
        injection = None if request.prompt is None else request.prompt.injection
        batch = collate(
            [(Encoded(tuple(context), (), Placement.at(request.slot)), ())], read="next"
        )
        logs = self.backbone.forward(batch, injection)[0].log_softmax(-1)
        sampling, left = request.sampling, logs
        if guide is not None:
            allowed = guide.allowed(len(logs))
            allowed[list(stops)] = guide.accepting
            left = logs.masked_fill(~allowed, -torch.inf)
        if sampling.temperature == 0.0:
            token = int(left.argmax())
        else:
            shares, order = (left / sampling.temperature).softmax(-1).sort(descending=True)
            kept = shares.cumsum(-1) - shares < sampling.top_p
            token = int(order[int(torch.multinomial(shares * kept, 1, generator=dice))])
        best = logs.topk(sampling.top_logprobs)
        top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        return Token(token, float(logs[token]), top)

    def _check(self, tokens: int) -> None:
        if tokens > self.max_positions:
            raise BackboneError("a row is longer than the model's positions", got=tokens)
