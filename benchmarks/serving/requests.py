"""What the serving benchmarks ask an engine: reviews to classify and texts to go on with.

Imports nothing that an environment with vLLM lacks.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import Any

import psutil
import torch

from benchmarks.review_task import review_task
from cuecard import load_backbone
from cuecard.engine.protocol import Engine, Generation, Held, Sampling, Scoring, Token
from cuecard.types import Backbone, Encoded, InputTokens

BACKBONE = "smollm2-135m-instruct"
PROMPTS, LENGTH, CLIENTS = 32, 20, 64
# What a task written for a chat model begins with.
TOLD = (
    "You judge reviews of films. Say whether the review below praises the film or finds fault with "
    "it, in one word: positive or negative.\n\n"
)

Request = tuple[int, Encoded]
"""A prompt's number, and a row."""
Work = Callable[[], Awaitable[int]]
Choose = Callable[[int], Held | None]
"""A request's prompt by the number that the request names."""


class Traffic:
    """The requests, the same for every contestant, and what can be done with them.

    Args:
        options: those of `add_options`.
        open_engine: makes the engine of the backbone.
    """

    def __init__(
        self, options: argparse.Namespace, open_engine: Callable[[Backbone], Engine]
    ) -> None:
        self.options = options
        self.backbone = load_backbone(options.backbone, dtype=options.dtype)
        task = review_task(options.reviews, 0)
        told = task.spec.model_copy(update={"template": TOLD + task.spec.template})
        records, tokenizer = task.train[: options.requests], self.backbone.tokenizer
        self.rows = [task.spec.encode(record, tokenizer) for record in records]
        self.words = tuple(tuple(word) for word in task.spec.continuations(tokenizer))
        self.prompts = [held(self.backbone, number) for number in range(PROMPTS)]
        chance = random.Random(0)
        self.requests: list[Request] = [(chance.randrange(PROMPTS), row) for row in self.rows]
        self.told: list[Request] = [
            (number, told.encode(record, tokenizer))
            for (number, _), record in zip(self.requests, records, strict=True)
        ]
        self.engine = open_engine(self.backbone)

    async def classify(self, choose: Choose, requests: Sequence[Request]) -> int:
        """Requests from `CLIENTS` at a time."""
        turn = asyncio.Semaphore(CLIENTS)

        async def one(request: Request) -> None:
            async with turn:
                row = Scoring(choose(request[0]), request[1], self.words)
                await self.engine.score([row])

        await asyncio.gather(*map(one, requests))
        return len(requests)

    async def write(self, choose: Choose, count: int) -> int:
        """So many answers from `CLIENTS` at a time; how many tokens they have."""
        turn = asyncio.Semaphore(CLIENTS)

        async def one(request: Request) -> int:
            async with turn:
                asked = generation(choose(request[0]), request[1], self.options.new_tokens)
                return sum([isinstance(item, Token) async for item in self.engine.generate(asked)])

        return sum(await asyncio.gather(*map(one, self.requests[:count])))


def held(backbone: Any, number: int) -> Held:
    """A prompt of 20 words' embeddings; which, depends on its number."""
    chance = torch.Generator().manual_seed(number)
    ids = torch.randint(200, min(backbone.vocab_size, 40_000), (LENGTH,), generator=chance)
    vectors = backbone.embeddings[ids.to(backbone.device)].float().cpu().clone()
    return Held(f"prompt-{number}", InputTokens(vectors))


def generation(prompt: Held | None, row: Encoded, new_tokens: int) -> Generation:
    """A greedy answer."""
    return Generation(prompt, row.context, row.slot, Sampling(new_tokens))


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the traffic needs to know."""
    parser.add_argument("--backbone", default=BACKBONE, help="a name, a folder or a hub id")
    parser.add_argument(
        "--dtype",
        choices=("fp32", "bf16"),
        default="bf16",
        help="of the engine's backbone",
    )
    parser.add_argument("--rounds", type=int, default=2, help="kept rounds per figure")
    parser.add_argument("--requests", type=int, default=256, help="to classify, in a round")
    parser.add_argument("--answers", type=int, default=64, help="to write, in a round")
    parser.add_argument("--new-tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--reviews", help="labelled rows; the catalogue's reviews by default")


def ways(work: Callable[[Choose], Awaitable[int]], prompts: Sequence[Held]) -> dict[str, Work]:
    """The same work under every request's own prompt, under one for all, and under none."""
    return {
        "many": lambda: work(lambda number: prompts[number]),
        "one": lambda: work(lambda _: prompts[0]),
        "bare": lambda: work(lambda _: None),
    }


async def rates(contestants: dict[str, Work], rounds: int) -> dict[str, Any]:
    """Per contestant the median of what it did per CPU-second; the first round is not kept."""
    seen: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, work in contestants.items():
            cpu = cpu_seconds()
            done = await work()
            if turn:
                seen[name].append(done / (cpu_seconds() - cpu))
    found = {name: median(each) for name, each in seen.items()}
    print({name: round(rate, 2) for name, rate in found.items()}, flush=True)
    # Neighbours in one round are compared: a machine's speed changes within minutes.
    over = {
        name: median(a / b for a, b in zip(seen["many"], each, strict=True))
        for name, each in seen.items()
        if name != "many"
    }
    return {"per_cpu_s": found, "rounds": seen, "over": over}


def cpu_seconds() -> float:
    """Of this process and those that it has started: an engine may compute in its own."""
    children = psutil.Process().children(recursive=True)
    return time.process_time() + sum(sum(child.cpu_times()[:2]) for child in children)
