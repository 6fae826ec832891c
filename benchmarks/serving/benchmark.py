"""Many prompts on one backbone, against PEFT and the bare backbone: `make bench-serving`.

Contestants take turns in one process on the same requests; a figure is the median of its rounds, in
requests or tokens per CPU-second of the whole process. vLLM comes first, in its own environment, if
that is there. With --churn MINUTES, clients send requests while prompts come and go, and every
answer is compared with the one it has alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.machine import machine, versions
from benchmarks.places import RESULTS, ROOT
from benchmarks.serving.churn import churn
from benchmarks.serving.peft import PeftServer, grouped
from benchmarks.serving.requests import (
    CLIENTS,
    LENGTH,
    PROMPTS,
    Request,
    Traffic,
    Work,
    add_options,
    generation,
    held,
    rates,
    ways,
)
from cuecard import load_backbone
from cuecard.backbones.quantization.forms import Precision
from cuecard.engine.local.engine import LocalEngine
from cuecard.engine.local.settings import LocalSettings
from cuecard.engine.protocol import Scoring

OUT = RESULTS / "serving.json"
VLLM = ROOT / ".venv-vllm" / "bin" / "python"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__.splitlines()[0]
    )
    add_options(parser)
    parser.add_argument("--peft-share", type=int, default=8, help="PEFT gets one in so many")
    parser.add_argument("--pass-tokens", type=int, default=512, help="of a pass of the engine")
    parser.add_argument(
        "--vllm", type=Path, default=VLLM, metavar="PYTHON", help="where vLLM is installed"
    )
    parser.add_argument(
        "--churn", type=float, default=0, metavar="MINUTES", help="churn alone, in fp32"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    if options.churn:
        options.dtype = "fp32"  # or a batch's shape could change an answer
    settings = LocalSettings(max_num_batched_tokens=options.pass_tokens)
    traffic = Traffic(options, lambda backbone: LocalEngine(backbone, settings))
    about = {"machine": machine(), "versions": versions()}
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.churn:
        contexts = [row for row in traffic.rows if len(row.context) < 48][:4]
        seconds = options.churn * 60
        seen = asyncio.run(churn(traffic.engine, traffic.prompts, contexts, seconds))
        found["churn"] = seen | {"dtype": options.dtype} | about
    else:
        found["vllm"] = measure_vllm(options)
        found |= asyncio.run(measure(traffic)) | about
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"wrote {options.out}")
    return 0


async def measure(traffic: Traffic) -> dict[str, Any]:
    """All figures but those of churn."""
    options = traffic.options
    before = psutil.Process().memory_info().rss
    await traffic.engine.start()
    for prompt in traffic.prompts:
        await traffic.engine.hold(prompt)
    await traffic.engine.score(
        [Scoring(held, traffic.rows[0], traffic.words) for held in traffic.prompts]
    )
    prompt_bytes = traffic.engine.stats()["prompt_cache_bytes"] / PROMPTS
    vectors = [held.injection.vectors for held in traffic.prompts]  # type: ignore[union-attr]
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
        "classify": await rates(_classify(traffic, pefts, traffic.requests), options.rounds),
        "classify_told": await rates(_classify(traffic, pefts, traffic.told), options.rounds),
        "write": await rates(_write(traffic, pefts), options.rounds),
        "adding": await adding(traffic),
        "prompt_bytes": prompt_bytes,
        "kv_bytes": LENGTH * _token_bytes(traffic.backbone),
        "rss_before": before,
    }
    await traffic.engine.close()
    return result


def measure_vllm(options: argparse.Namespace) -> dict[str, Any] | None:
    """The same traffic on vLLM, in its own environment; None where that is not."""
    if not options.vllm.exists():
        print(f"vLLM is left out: no {options.vllm}; `make test-vllm` installs it")
        return None
    command = [options.vllm, "-m", "benchmarks.serving.vllm"]
    for name in ("backbone", "dtype", "rounds", "requests", "answers", "new_tokens", "reviews"):
        if (value := getattr(options, name)) is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _token_bytes(backbone: Any) -> int:
    """Of one token's keys and values."""
    return int(backbone.ragged.shape.token_bytes)


def _classify(
    traffic: Traffic, pefts: dict[Precision, PeftServer], requests: Sequence[Request]
) -> dict[str, Work]:
    firsts = [word[0] for word in traffic.words]

    def served(peft: PeftServer, batch: Sequence[Request]) -> int:
        return len(peft.classify(batch, firsts))

    return {
        **ways(lambda choose: traffic.classify(choose, requests), traffic.prompts),
        **_pefts(pefts, requests, traffic.options.peft_share, served),
    }


def _write(traffic: Traffic, pefts: dict[Precision, PeftServer]) -> dict[str, Work]:
    count, new_tokens = traffic.options.answers, traffic.options.new_tokens
    end = int(traffic.backbone.tokenizer.eos_token_id)

    def served(peft: PeftServer, batch: Sequence[Request]) -> int:
        return sum(map(len, peft.write(batch, new_tokens, end)))

    return {
        **ways(lambda choose: traffic.write(choose, count), traffic.prompts),
        **_pefts(pefts, traffic.requests[:count], traffic.options.peft_share, served),
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


async def adding(traffic: Traffic, times: int = 16) -> dict[str, float]:
    """Wall seconds from a new prompt to its first answer, and what others wait meanwhile."""
    gaps: dict[bool, list[float]] = {True: [], False: []}
    added = 0
    ended = False

    async def stream(number: int) -> None:
        request = traffic.requests[number]
        while not ended:
            last, before = time.perf_counter(), added
            asked = generation(traffic.prompts[request[0]], request[1], traffic.options.new_tokens)
            async for _ in traffic.engine.generate(asked):
                now = time.perf_counter()
                gaps[added != before].append(now - last)
                last, before = now, added

    tasks = [asyncio.create_task(stream(number)) for number in range(8)]
    alone: list[float] = []
    for number in range(times):
        while len(gaps[False]) < 64 * (number + 1):
            await asyncio.sleep(0.01)
        prompt = held(traffic.backbone, 1000 + number)
        begun = time.perf_counter()
        added += 1
        await traffic.engine.hold(prompt)
        await traffic.engine.score([Scoring(prompt, traffic.rows[0], traffic.words)])
        alone.append(time.perf_counter() - begun)
        added += 1
        await traffic.engine.drop(prompt.digest)
    ended = True
    await asyncio.gather(*tasks)
    idle: list[float] = []
    for number in range(times):
        prompt = held(traffic.backbone, 2000 + number)
        begun = time.perf_counter()
        await traffic.engine.hold(prompt)
        await traffic.engine.score([Scoring(prompt, traffic.rows[0], traffic.words)])
        idle.append(time.perf_counter() - begun)
        await traffic.engine.drop(prompt.digest)
    return {
        "first_answer_idle_s": median(idle),
        "first_answer_beside_8_answers_s": median(alone),
        "token_gap_s": median(gaps[False]),
        "token_gap_while_adding_s": median(gaps[True]) if gaps[True] else 0.0,
    }
