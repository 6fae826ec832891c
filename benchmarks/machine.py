"""What was measured on: the processor, its matrix rate, the versions."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

_SIZE, _TIMES = 1024, 16
PRODUCTS_GFLOP = _TIMES * 2 * _SIZE**3 / 1e9


def machine() -> dict[str, Any]:
    """The processor and how fast it multiplies matrices, which takes seconds."""
    return {
        **processor(),
        "bf16_gflop_per_cpu_s": round(matrix_rate(torch.bfloat16)),
        "fp32_gflop_per_cpu_s": round(matrix_rate(torch.float32)),
    }


def processor() -> dict[str, Any]:
    """The processor, its cores and the threads in use."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """The packages that decide speed."""
    return {name: version(name) for name in ("cuecard", "torch", "transformers", "peft")}


def cpu_seconds() -> float:
    """Of this process and of those that it has started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def matrix_rate(dtype: torch.dtype) -> float:
    """GFLOP per CPU-second of square matrix products."""
    work = products(dtype)
    return PRODUCTS_GFLOP / median(timed(work)[0] for _ in range(7))


def products(dtype: torch.dtype) -> Callable[[], Any]:
    """Square matrix products, `PRODUCTS_GFLOP` in all."""
    a, b = torch.randn(_SIZE, _SIZE).to(dtype), torch.randn(_SIZE, _SIZE).to(dtype)
    return lambda: [a @ b for _ in range(_TIMES)]


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """CPU-seconds and wall seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def alternate(
    contestants: dict[str, Callable[[], Any]], rounds: int
) -> dict[str, dict[str, float]]:
    """Median CPU and wall seconds per call, contestants taking turns; the first is not kept."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, work in contestants.items():
            taken = timed(work)
            if turn:
                seen[name].append(taken)
    return {
        name: {"cpu_s": median(c for c, _ in pairs), "wall_s": median(w for _, w in pairs)}
        for name, pairs in seen.items()
    }
