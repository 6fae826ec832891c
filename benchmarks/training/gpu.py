"""Training steps on an accelerator: a random backbone of Llama 3 8B's shape, against PEFT.

    python -m benchmarks.training.gpu            # B32 T128 P100 in bf16; needs about 60 GB
    python -m benchmarks.training.gpu --smoke    # a tiny shape, on the CPU too

Steps are timed between synchronisations, contestants one after the other so that their memory does
not mix. Results go to benchmarks/results/training_gpu.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from benchmarks.machine import versions
from benchmarks.places import RESULTS
from benchmarks.training.contestants import Ours, Peft, linear_flops
from cuecard import CausalBackbone
from cuecard.types import Encoded

OUT = RESULTS / "training_gpu.json"


@dataclass(frozen=True)
class Shape:
    """Rows B, tokens T, prompt vectors P, and the backbone's sizes."""

    rows: int = 32
    tokens: int = 128
    prompt: int = 100
    layers: int = 32
    hidden: int = 4096
    inner: int = 14336
    heads: int = 32
    kv_heads: int = 8
    vocabulary: int = 128_256


SMOKE = Shape(4, 16, 6, layers=2, hidden=64, inner=128, heads=4, kv_heads=2, vocabulary=512)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both contestants and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a tiny shape")
    parser.add_argument("--rounds", type=int, default=10, help="kept steps")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.smoke:
        print("no GPU was found; --smoke runs a tiny shape on the CPU", file=sys.stderr)
        return 2
    shape = SMOKE if options.smoke else Shape()
    found: dict[str, Any] = {
        "name": f"B{shape.rows} T{shape.tokens} P{shape.prompt}",
        "shape": asdict(shape),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "versions": versions(),
        "matrix_flops_per_s": matrix_flops(device, 512 if options.smoke else 8192),
    }
    for name in ("ours", "peft"):
        found |= {
            f"{name}_{key}": value
            for key, value in measure(name, shape, device, options.rounds).items()
        }
        gc.collect()
    found["ratio"] = found["peft_step_s"] / found["ours_step_s"]
    found["matrix_share"] = found["ours_flops"] / found["ours_step_s"] / found["matrix_flops_per_s"]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    print(
        f"{found['name']} on {found['device']}: {found['ours_step_s'] * 1e3:.1f} ms a step, "
        f"{found['ours_tokens_per_s']:,.0f} tokens/s; PEFT {found['ratio']:.1f}x as long; "
        f"{found['matrix_share']:.0%} of the matrix rate"
    )
    return 0


def measure(name: str, shape: Shape, device: torch.device, rounds: int) -> dict[str, float]:
    """Seconds per step, input tokens per second, peak bytes above the weights, and weight FLOPs."""
    backbone = make_backbone(shape, device)
    rows = make_rows(shape)
    start = backbone.embeddings[: shape.prompt].float()
    side = Ours(backbone, start) if name == "ours" else Peft(backbone.model, start)
    for _ in range(2):
        side.step(rows)
    backbone.reset_counts()
    held = torch.cuda.memory_allocated() if device.type == "cuda" else 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = median(seconds_of(lambda: side.step(rows), device) for _ in range(rounds))
    peak = torch.cuda.max_memory_allocated() - held if device.type == "cuda" else 0
    return {
        "step_s": seconds,
        "tokens_per_s": shape.rows * shape.tokens / seconds,
        "peak_bytes": peak,
        "flops": linear_flops(backbone.model, backbone.counts["tokens"] // rounds),
    }


def make_backbone(shape: Shape, device: torch.device) -> CausalBackbone:
    """Random weights in bf16, made where they are used."""
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=8192,
    )
    with torch.device(device), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    core = Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>"))
    return CausalBackbone(model, PreTrainedTokenizerFast(tokenizer_object=core), "random llama")


def make_rows(shape: Shape) -> list[Encoded]:
    """Random inputs of T tokens and one target each."""
    generator = torch.Generator().manual_seed(0)
    size = (shape.rows, shape.tokens + 1)
    ids = torch.randint(1, shape.vocabulary, size, generator=generator).tolist()
    return [Encoded(tuple(row[:-1]), (row[-1],)) for row in ids]


def matrix_flops(device: torch.device, size: int) -> float:
    """FLOP per second of a square bf16 product."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    return 2 * size**3 / median(seconds_of(lambda: a @ a, device) for _ in range(20))


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """Wall seconds of one call, everything it queued included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
