"""Peak memory of a training step above what the process held before it."""

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


def peak_bytes(step: Callable[[], Any]) -> int:
    """Bytes that a step adds to the process's resident memory at its peak, sampled every 2 ms."""
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
        step()
    finally:
        done.set()
        watcher.join()
    return peak - before
