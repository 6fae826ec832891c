"""A thousand named prompts on one backbone: `make bench-serving-1000`.

    python -m benchmarks.serving.thousand [--prompts 1000 --requests 4000]

A registry of prompts for labels (vectors, and keys and values) and for texts is served as a user
serves it, and asked over HTTP by 64 clients, names drawn by Zipf's law; beside it the same requests
to one prompt of each kind. Every answer of labels is compared with what its prompt said when it was
asked alone.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
import numpy as np
import psutil
import torch

from benchmarks.machine import processor, versions
from benchmarks.places import RESULTS
from benchmarks.server_process import ServerProcess, serving
from benchmarks.serving.requests import BACKBONE, CLIENTS
from cuecard import load_backbone
from cuecard.artifacts import Prompt
from cuecard.evaluation.report import plain, write_json
from cuecard.registry import Registry
from cuecard.tasks import TaskSpec
from cuecard.types import Backbone, Injection, InputTokens, PrefixKV

OUT = RESULTS / "serving_1000.json"
KINDS = ("vectors", "keys-values", "texts")
"""Prompts' kinds in turn: of ten six, one and three."""
_TURN = (0, 0, 2, 0, 0, 2, 0, 1, 0, 2)
_LENGTH, _NEW, _ZIPF, _TEXTS = 20, 16, 1.1, 8
ALIAS = "production"
# In bfloat16 the others in a batch change the last bits of an answer's log-probabilities.
_APART = {"fp32": 1e-3, "bf16": 0.25}


@dataclass(frozen=True)
class Question:
    """A request: a prompt's name, its kind and a text."""

    name: str
    kind: str
    text: str


@dataclass
class Answers:
    """What came back.

    Attributes:
        seconds: of each request, from its first byte to its answer's last one.
        crossed: answers of another prompt, or with its numbers.
        failed: requests without an answer.
    """

    seconds: list[float] = field(default_factory=list)
    crossed: int = 0
    failed: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything and write the results."""
    given = _arguments(arguments)
    with tempfile.TemporaryDirectory() as room:
        found = measure(given, Path(room))
    write_json(plain(found | {"machine": processor(), "versions": versions()}), given.out)
    print(f"written to {given.out}")
    return 0


def measure(given: argparse.Namespace, room: Path) -> dict[str, Any]:
    """All figures."""
    backbone = load_backbone(given.backbone, dtype=given.dtype)
    names = [f"task-{number:04}" for number in range(given.prompts)]
    print(f"{given.prompts:,} prompts are made", flush=True)
    registries = {"many": room / "many", "one": room / "one"}
    fill(registries["many"], backbone, names)
    fill(registries["one"], backbone, names[: len(_TURN)])
    del backbone
    flags = ("--serve", "aliases", "--dtype", given.dtype, "--max-requests", str(4 * CLIENTS))
    plan = {name: value for name, value in vars(given).items() if name != "out"}
    found: dict[str, Any] = {"plan": plan | {"zipf": _ZIPF}}
    for place, registry in registries.items():
        with serving(given.backbone, registry, room / f"{place}.log", flags) as server:
            print(f"{place}: ready after {server.ready_s:.1f} s", flush=True)
            found[place] = {
                "prompts": len(names) if place == "many" else len(_TURN),
                "ready_s": server.ready_s,
                "ready_bytes": _memory(server),
            }
            if place == "many":
                found |= asyncio.run(_asked(server, names, given))
                found["many"]["bytes"] = _memory(server)
    return found


def fill(place: Path, backbone: Backbone, names: Sequence[str]) -> None:
    """A registry of prompts, each with its alias."""
    registry = Registry(place)
    registry.create()
    for number, name in enumerate(names):
        with tempfile.TemporaryDirectory() as folder:
            made = _prompt(backbone, number).save(Path(folder) / "prompt")
            pushed = registry.push(made, name)
        registry.promote(pushed.version, ALIAS)


def kind_of(number: int) -> str:
    """A prompt's kind."""
    return KINDS[_TURN[number % len(_TURN)]]


def _prompt(backbone: Backbone, number: int) -> Prompt:
    """A prompt whose labels have its number, so that an answer tells whose it is."""
    kind = kind_of(number)
    chance = torch.Generator().manual_seed(number)
    ids = torch.randint(200, min(backbone.vocab_size, 40_000), (_LENGTH,), generator=chance)
    vectors = backbone.embeddings[ids.to(backbone.device)].float().cpu()
    injection: Injection = InputTokens(vectors)
    if kind == "keys-values":
        kept = backbone.states(vectors.to(backbone.device)).keys_values
        assert kept is not None
        injection = PrefixKV(kept.float().cpu())
    spec = TaskSpec(kind="text-to-text", template="Film: {text}\nSay:", max_new_tokens=_NEW)
    if kind != "texts":
        labels = f"bad-{number}", f"good-{number}"
        spec = TaskSpec(
            kind="classification",
            template="Review: {text}\nSentiment:",
            labels=labels,
            words=dict(zip(labels, ("bad", "good"), strict=True)),
        )
    return Prompt.create(
        injection,
        backbone=backbone,
        spec=spec,
        method="p-tuning-v2" if kind == "keys-values" else "prompt-tuning",
        method_config={"length": _LENGTH},
        slot="prefix",
    )


def questions(names: Sequence[str], count: int, seed: int) -> list[Question]:
    """Requests whose names are drawn by Zipf's law: the n-th name has a share of n ** -1.1."""
    chance = random.Random(seed)
    shares = [(place + 1) ** -_ZIPF for place in range(len(names))]
    ranked = random.Random(0).sample(range(len(names)), len(names))
    drawn = chance.choices(ranked, shares, k=count)
    texts = [f"scene {number} is warm and odd" for number in range(_TEXTS)]
    return [Question(names[number], kind_of(number), chance.choice(texts)) for number in drawn]


def to_one(asked: Sequence[Question], names: Sequence[str]) -> list[Question]:
    """The same requests to one prompt of each kind."""
    first = {kind_of(number): name for number, name in reversed([*enumerate(names)])}
    return [Question(first[each.kind], each.kind, each.text) for each in asked]


async def _asked(
    server: ServerProcess, names: Sequence[str], given: argparse.Namespace
) -> dict[str, Any]:
    """Traffic to many prompts and to one of each kind, in turns; the first turn is not kept."""
    limits = httpx2.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    seen: dict[str, list[dict[str, float]]] = {"many": [], "one": []}
    answers = {"many": Answers(), "one": Answers()}
    async with httpx2.AsyncClient(base_url=server.url, limits=limits, timeout=600) as client:
        for turn in range(given.rounds + 1):
            many = questions(names, given.requests, turn)
            for name, asked in (("many", many), ("one", to_one(many, names))):
                alone = await _alone(client, asked)
                told = await _round(client, server, asked, alone, _APART[given.dtype])
                if turn:
                    answers[name].seconds += told.pop("each")
                    answers[name].crossed += told["crossed"]
                    answers[name].failed += told["failed"]
                    seen[name].append(told)
    found: dict[str, Any] = {"traffic": {n: _told(answers[n], seen[n]) for n in answers}}
    pairs = zip(seen["many"], seen["one"], strict=True)
    found["over_one"] = {
        "rate_per_cpu_s": median(a["per_cpu_s"] / b["per_cpu_s"] for a, b in pairs),
        "p99": found["traffic"]["many"]["p99_s"] / found["traffic"]["one"]["p99_s"],
    }
    return found


def _told(answers: Answers, rounds: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    times = sorted(answers.seconds)
    return {
        "requests": len(times),
        "crossed": answers.crossed,
        "failed": answers.failed,
        "per_s": median(each["per_s"] for each in rounds),
        "per_cpu_s": median(each["per_cpu_s"] for each in rounds),
        "p50_s": float(np.quantile(times, 0.5)),
        "p99_s": float(np.quantile(times, 0.99)),
    }


async def _alone(
    client: httpx2.AsyncClient, asked: Sequence[Question]
) -> dict[tuple[str, str], list[float]]:
    """What each prompt says of a text when nothing else is asked, of the most frequent ones."""
    pairs = [(each.name, each.text) for each in asked if each.kind != "texts"]
    often = sorted(dict.fromkeys(pairs), key=pairs.count, reverse=True)[:100]
    found = {}
    for name, text in often:
        found[name, text], _ = await _classified(client, name, text)
    return found


async def _round(
    client: httpx2.AsyncClient,
    server: ServerProcess,
    asked: Sequence[Question],
    alone: Mapping[tuple[str, str], list[float]],
    apart: float,
) -> dict[str, Any]:
    """All requests, from so many clients at a time."""
    turn, answers = asyncio.Semaphore(CLIENTS), Answers()

    async def one(question: Question) -> None:
        async with turn:
            began = time.perf_counter()
            try:
                wrong = await _wrong(client, question, alone, apart)
            except (httpx2.HTTPError, KeyError, ValueError):
                answers.failed += 1
                return
            answers.seconds.append(time.perf_counter() - began)
            answers.crossed += wrong

    cpu, wall = _cpu(server), time.perf_counter()
    await asyncio.gather(*map(one, asked))
    done = len(answers.seconds)
    return {
        "per_s": done / (time.perf_counter() - wall),
        "per_cpu_s": done / (_cpu(server) - cpu),
        "crossed": answers.crossed,
        "failed": answers.failed,
        "each": answers.seconds,
    }


async def _wrong(
    client: httpx2.AsyncClient,
    question: Question,
    alone: Mapping[tuple[str, str], list[float]],
    apart: float,
) -> bool:
    """Whether an answer is another prompt's, by its labels or by its numbers."""
    if question.kind == "texts":
        body = {"model": question.name, "prompt": question.text}
        reply = await client.post("/v1/completions", json=body)
        reply.raise_for_status()
        return not str(reply.json()["model"]).startswith(f"{question.name}@")
    scores, labels = await _classified(client, question.name, question.text)
    number = int(question.name.rpartition("-")[2])
    if labels != [f"bad-{number}", f"good-{number}"]:
        return True
    known = alone.get((question.name, question.text))
    if known is None:
        return False
    return any(abs(a - b) > apart for a, b in zip(scores, known, strict=True))


async def _classified(
    client: httpx2.AsyncClient, name: str, text: str
) -> tuple[list[float], list[str]]:
    """Scores and labels, in the labels' order."""
    body = {"model": name, "input": text}
    reply = await client.post("/v1/classify", json=body)
    reply.raise_for_status()
    found = reply.json()["data"][0]["scores"]
    return [found[label] for label in sorted(found)], sorted(found)


def _cpu(server: ServerProcess) -> float:
    times = psutil.Process(server.pid).cpu_times()
    return float(times.user + times.system)


def _memory(server: ServerProcess) -> int:
    return int(psutil.Process(server.pid).memory_info().rss)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.thousand", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--backbone", default=BACKBONE, help="a name, a folder or a hub id")
    parser.add_argument("--dtype", choices=tuple(_APART), default="bf16")
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=5000, help="of a round")
    parser.add_argument("--rounds", type=int, default=4, help="that are kept")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
