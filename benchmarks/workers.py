"""A benchmark's cells, each kept in a file of its own, and the processes that run them."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from filelock import FileLock, Timeout

from benchmarks.machine import cpu_seconds
from benchmarks.places import ROOT
from cuecard.errors import Interrupted
from cuecard.evaluation.report import write_json
from cuecard.training.setup import key_of


class KeptCell(Protocol):
    """A part of a benchmark with a result of its own."""

    def file(self, folder: Path) -> Path:
        """Where its result goes."""
        ...


C = TypeVar("C", bound=KeptCell)


def add_run_options(
    parser: argparse.ArgumentParser, cells: str, out: Path, workers: int | None = None
) -> None:
    """The options that `run_cells` reads, and where cells are kept.

    Args:
        workers: by default, two at most.
    """
    workers = workers or min(2, os.cpu_count() or 1)
    parser.add_argument("--workers", type=int, default=workers)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--cells", default=cells, help="where cells are kept")
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)


def short_key(values: object) -> str:
    """Ten digits of a key, for names of folders and files: the same for the same values."""
    return key_of(values)[:10]


def missing(cells: Sequence[C], folder: Path) -> list[C]:
    """Those without a result."""
    return [cell for cell in cells if not cell.file(folder).exists()]


def run_cells(
    module: str,
    given: argparse.Namespace,
    arguments: Sequence[str] | None,
    cells: Sequence[KeptCell],
    folder: Path,
    work: Callable[[], None],
    summary: Callable[[], dict[str, Any]],
) -> int:
    """Run the cells in one process or several, then write the results; the exit code.

    Args:
        module: such as "benchmarks.methods".
        given: the command line as it was read: workers, worker, threads, out.
        arguments: the command line; None for this process's own.
        work: runs the cells that are missing, but for those another process has taken.
        summary: of all of them.
    """
    if given.workers > 1 and not given.worker:
        own = sys.argv[1:] if arguments is None else arguments
        run_workers(module, [*own, "--worker"], given.workers)
    else:
        torch.set_num_threads(given.threads)
        try:
            work()
        except (Interrupted, KeyboardInterrupt):
            print("stopped; start it again to go on", flush=True)
            return 130
    if given.worker:
        return 0
    if left := missing(cells, folder):
        print(f"{len(left)} of {len(cells)} cells are missing; start it again to go on")
        return 1
    write_json(summary(), given.out)
    print(f"written to {given.out}; `python -m benchmarks.tables` puts it into the docs")
    return 0


def run_missing(
    cells: Sequence[C],
    folder: Path,
    run: Callable[[C], str],
    cost: Callable[[C], float],
    workers: int = 1,
    ready: Callable[[C], bool] = lambda cell: True,
) -> None:
    """Run every cell that is not there, but for those another process has taken.

    Args:
        run: writes a cell's result to its file, and returns what to say of it.
        cost: of a cell in CPU-seconds, as far as it is known beforehand.
        workers: processes that share the cells.
        ready: whether what a cell begins with is there.
    """
    spent = guessed = 0.0
    while left := missing(cells, folder):
        taken = 0
        for cell in filter(ready, left):
            with claimed(cell.file(folder)) as mine:
                if not mine:
                    continue
                taken += 1
                began = cpu_seconds()
                found = run(cell)
                spent, guessed = spent + cpu_seconds() - began, guessed + cost(cell)
                rest = missing(cells, folder)
                minutes = spent / guessed * sum(map(cost, rest)) / workers / 60
                done = f"[{len(cells) - len(rest)}/{len(cells)}]"
                print(f"{done} {found}; about {minutes:.0f} min left", flush=True)
        if not taken:
            time.sleep(1)  # the rest is another process's, or waits for one


def say_plan(
    cells: Sequence[C], folder: Path, about: str, cost: Callable[[C], float], workers: int
) -> None:
    """Say how many cells there are to run, and what they take.

    Args:
        about: follows the number of cells.
        cost: as in `run_missing`.
    """
    left = missing(cells, folder)
    print(
        f"{len(cells)} cells, {len(left)} to run{about}\nAbout {sum(map(cost, left)):,.0f} CPU-s "
        f"on Zen 4, {workers} process(es); kept in {folder}",
        flush=True,
    )


def show_step(event: dict[str, Any]) -> None:
    """An observer that shows a training's step on a terminal."""
    if event["event"] == "step" and sys.stderr.isatty():
        print(f"  step {event['step']}", end="\r", file=sys.stderr, flush=True)


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
