"""Peak memory of training steps above what the process held before them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psutil
import torch


def touch(model: torch.nn.Module) -> None:
    """Read every weight, or one mapped from a file counts as memory of the step that reads it."""
    for tensor in model.state_dict().values():
        tensor.view(-1)[:: 4096 // tensor.element_size()].sum()


def peak_bytes(step: Callable[[], Any], times: int = 2) -> int:
    """Bytes that steps add to the process's resident memory at their peak, sampled every 2 ms."""
    process = psutil.Process()
    before = peak = int(process.memory_info().rss)
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, int(process.memory_info().rss))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(times):
            step()
    finally:
        done.set()
        watcher.join()
    return peak - before
