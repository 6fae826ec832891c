"""Many prompts on one backbone, against PEFT and the bare backbone: `make bench-serving`.

Contestants take turns in one process on the same requests; a figure is the median of its rounds, in
requests or tokens per CPU-second of the whole process. With --churn MINUTES, clients send requests
while prompts come and go, and every answer is compared with the one it has alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from benchmarks.accuracy import review_task
from benchmarks.churn import churn
from benchmarks.machine import machine, versions
from benchmarks.peft_serving import PeftServer, Request, grouped
from benchmarks.tables import ROOT
from cuecard import load_backbone
from cuecard.backbones.loading import Precision
from cuecard.serving.engine import Generation, Held, Sampling, Scoring, Token
from cuecard.serving.local import LocalEngine
from cuecard.serving.settings import LocalSettings
from cuecard.types import Encoded, InputTokens

RESULTS = ROOT / "benchmarks" / "results" / "serving.json"
BACKBONE = "smollm2-135m-instruct"
PROMPTS, LENGTH, CLIENTS = 32, 20, 64
# What a task written for a chat model begins with.
TOLD = (
    "You judge reviews of films. Say whether the review below praises the film or finds fault with "
    "it, in one word: positive or negative.\n\n"
)

Work = Callable[[], Awaitable[int]]


class Bench:
    """The requests, and what can be done with them."""

    def __init__(self, options: argparse.Namespace) -> None:
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
        self.engine = LocalEngine(self.backbone, LocalSettings(pass_tokens=options.pass_tokens))

    async def classify(
        self, choose: Callable[[int], Held | None], requests: Sequence[Request]
    ) -> int:
        """Requests from `CLIENTS` at a time."""
        turn = asyncio.Semaphore(CLIENTS)

        async def one(request: Request) -> None:
            async with turn:
                row = Scoring(choose(request[0]), request[1], self.words)
                await self.engine.score([row])

        await asyncio.gather(*map(one, requests))
        return len(requests)

    async def write(self, choose: Callable[[int], Held | None], count: int) -> int:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default=BACKBONE, help="a name, a folder or a hub id")
    parser.add_argument("--dtype", default="bf16", choices=("fp32", "bf16"), help="of ours")
    parser.add_argument("--rounds", type=int, default=2, help="kept rounds per figure")
    parser.add_argument("--requests", type=int, default=256, help="to classify, in a round")
    parser.add_argument("--answers", type=int, default=64, help="to write, in a round")
    parser.add_argument("--peft-share", type=int, default=8, help="PEFT gets one in so many")
    parser.add_argument("--new-tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--pass-tokens", type=int, default=512, help="of a pass of the engine")
    parser.add_argument("--reviews", help="labelled rows; the catalogue's reviews by default")
    parser.add_argument("--churn", type=float, default=0, metavar="MINUTES", help="churn alone")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    about = {"machine": machine(), "versions": versions()}
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.churn:
        bench = Bench(options)
        contexts = [row for row in bench.rows if len(row.context) < 48][:4]
        seconds = options.churn * 60
        found["churn"] = asyncio.run(churn(bench.engine, bench.prompts, contexts, seconds)) | about
    else:
        found |= asyncio.run(measure(Bench(options))) | about
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"wrote {options.out}")
    return 0


async def measure(bench: Bench) -> dict[str, Any]:
    """All figures but those of churn."""
    options = bench.options
    before = psutil.Process().memory_info().rss
    await bench.engine.start()
    for prompt in bench.prompts:
        await bench.engine.hold(prompt)
    await bench.engine.score([Scoring(held, bench.rows[0], bench.words) for held in bench.prompts])
    prompt_bytes = bench.engine.stats()["prompt_cache_bytes"] / PROMPTS
    vectors = [held.injection.vectors for held in bench.prompts]  # type: ignore[union-attr]
    precisions: tuple[Precision, ...] = ("fp32", "bf16")  # PEFT's default, and ours
    pefts = {
        precision: PeftServer(load_backbone(options.backbone, dtype=precision).model, vectors)
        for precision in precisions
    }
    result: dict[str, Any] = {
        "backbone": options.backbone,
        "dtype": options.dtype,
        "prompts": PROMPTS,
        "length": LENGTH,
        "clients": CLIENTS,
        "new_tokens": options.new_tokens,
        "classify": await rates(_classify(bench, pefts, bench.requests), options.rounds),
        "classify_told": await rates(_classify(bench, pefts, bench.told), options.rounds),
        "write": await rates(_write(bench, pefts), options.rounds),
        "adding": await adding(bench),
        "prompt_bytes": prompt_bytes,
        "kv_bytes": LENGTH * _token_bytes(bench.backbone),
        "rss_before": before,
    }
    await bench.engine.close()
    return result


def _token_bytes(backbone: Any) -> int:
    """Of one token's keys and values."""
    return int(backbone.ragged.shape.token_bytes)


def _classify(
    bench: Bench, pefts: dict[Precision, PeftServer], requests: Sequence[Request]
) -> dict[str, Work]:
    firsts = [word[0] for word in bench.words]

    def served(peft: PeftServer, batch: Sequence[Request]) -> int:
        return len(peft.classify(batch, firsts))

    return {
        **_ours(lambda choose: bench.classify(choose, requests), bench),
        **_pefts(pefts, requests, bench.options.peft_share, served),
    }


def _write(bench: Bench, pefts: dict[Precision, PeftServer]) -> dict[str, Work]:
    count, new_tokens = bench.options.answers, bench.options.new_tokens
    end = int(bench.backbone.tokenizer.eos_token_id)

    def served(peft: PeftServer, batch: Sequence[Request]) -> int:
        return sum(map(len, peft.write(batch, new_tokens, end)))

    return {
        **_ours(lambda choose: bench.write(choose, count), bench),
        **_pefts(pefts, bench.requests[:count], bench.options.peft_share, served),
    }


def _pefts(
    pefts: dict[Precision, PeftServer],
    requests: Sequence[Request],
    share: int,
    served: Callable[[PeftServer, Sequence[Request]], int],
) -> dict[str, Work]:
    """One in `share` of the requests, one by one; and of as many as come at once, by prompt."""
    singly = [[request] for request in requests[: max(1, len(requests) // share)]]
    together = grouped(requests[:CLIENTS])
    chosen = together[: max(1, len(together) // share)]

    def work(peft: PeftServer, batches: Sequence[Sequence[Request]]) -> Work:
        async def run() -> int:
            return sum(served(peft, batch) for batch in batches)

        return run

    return {
        f"peft_{precision}_{way}": work(peft, batches)
        for precision, peft in pefts.items()
        for way, batches in (("per_request", singly), ("grouped", chosen))
    }


def _ours(
    work: Callable[[Callable[[int], Held | None]], Awaitable[int]], bench: Bench
) -> dict[str, Work]:
    return {
        "many": lambda: work(lambda number: bench.prompts[number]),
        "one": lambda: work(lambda _: bench.prompts[0]),
        "bare": lambda: work(lambda _: None),
    }


async def rates(contestants: dict[str, Work], rounds: int) -> dict[str, Any]:
    """Per contestant the median of what it did per CPU-second; the first round is not kept."""
    seen: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, work in contestants.items():
            cpu = time.process_time()
            done = await work()
            if turn:
                seen[name].append(done / (time.process_time() - cpu))
    found = {name: median(each) for name, each in seen.items()}
    print({name: round(rate, 2) for name, rate in found.items()}, flush=True)
    # Neighbours in one round are compared: a machine's speed changes within minutes.
    over = {
        name: median(a / b for a, b in zip(seen["many"], each, strict=True))
        for name, each in seen.items()
        if name != "many"
    }
    return {"per_cpu_s": found, "rounds": seen, "over": over}


async def adding(bench: Bench, times: int = 16) -> dict[str, float]:
    """Wall seconds from a new prompt to its first answer, and what others wait meanwhile."""
    gaps: dict[bool, list[float]] = {True: [], False: []}
    added = 0
    ended = False

    async def stream(number: int) -> None:
        request = bench.requests[number]
        while not ended:
            last, before = time.perf_counter(), added
            asked = generation(bench.prompts[request[0]], request[1], bench.options.new_tokens)
            async for _ in bench.engine.generate(asked):
                now = time.perf_counter()
                gaps[added != before].append(now - last)
                last, before = now, added

    tasks = [asyncio.create_task(stream(number)) for number in range(8)]
    alone: list[float] = []
    for number in range(times):
        while len(gaps[False]) < 64 * (number + 1):
            await asyncio.sleep(0.01)
        prompt = held(bench.backbone, 1000 + number)
        begun = time.perf_counter()
        added += 1
        await bench.engine.hold(prompt)
        await bench.engine.score([Scoring(prompt, bench.rows[0], bench.words)])
        alone.append(time.perf_counter() - begun)
        added += 1
        await bench.engine.drop(prompt.digest)
    ended = True
    await asyncio.gather(*tasks)
    idle: list[float] = []
    for number in range(times):
        prompt = held(bench.backbone, 2000 + number)
        begun = time.perf_counter()
        await bench.engine.hold(prompt)
        await bench.engine.score([Scoring(prompt, bench.rows[0], bench.words)])
        idle.append(time.perf_counter() - begun)
        await bench.engine.drop(prompt.digest)
    return {
        "first_answer_idle_s": median(idle),
        "first_answer_beside_8_answers_s": median(alone),
        "token_gap_s": median(gaps[False]),
        "token_gap_while_adding_s": median(gaps[True]) if gaps[True] else 0.0,
    }


if __name__ == "__main__":
    sys.exit(main())
