"""A benchmark's other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

ROOT = Path(__file__).parents[1]


def run_workers(module: str, arguments: Sequence[str], count: int) -> None:
    """Run a benchmark in as many processes of one thread, until all have ended.

    Two threads on one model are 72% efficient.

    Args:
        module: such as "benchmarks.methods".
        arguments: its command line's.
    """
    command = [sys.executable, "-m", module, *arguments]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    running = [subprocess.Popen(command, env=env, cwd=ROOT) for _ in range(count)]
    try:
        for child in running:
            child.wait()
    finally:
        for child in running:
            if child.poll() is None:
                child.terminate()
                child.wait()


@contextmanager
def claimed(place: Path) -> Iterator[bool]:
    """Whether a result's file is this process's to make, for a while; a killed one holds nothing.

    Args:
        place: the file, which may be there already.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield not place.exists()
    finally:
        lock.release()
