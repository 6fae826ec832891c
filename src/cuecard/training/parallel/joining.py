"""How the processes of one run find each other: the environment that torchrun sets.

RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun,
accelerate and PyTorch's own recipes for Slurm have them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from cuecard.errors import ConfigError, TrainingError
from cuecard.lazy import lazy_module, torch
from cuecard.training.parallel.ranks import ALONE, Ranks

distributed = lazy_module("torch.distributed")

# All must have come within this time: a cluster starts its nodes one by one.
JOIN_SECONDS = 600.0
# Nobody waits longer for an answer. A process that ends is noticed at once, a machine that
# vanishes after this time; the first process's validation must fit in.
ANSWER_SECONDS = 1800.0
_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """A process's place among those of a run.

    Attributes:
        rank, size: its number, and how many there are.
        local_rank, local_size: the same on its machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self | None:
        """Its place as the environment has it; None where it is alone.

        Raises:
            ConfigError: numbers that contradict each other, or no address of the first process.
        """
        size = _number(environment, "WORLD_SIZE", 1)
        if size <= 1:
            return None
        rank = _number(environment, "RANK", None)
        if rank >= size or "MASTER_ADDR" not in environment:
            raise ConfigError(
                "the environment names no place among the run's processes",
                where="RANK, WORLD_SIZE, MASTER_ADDR",
                got=f"{rank}, {size}, {environment.get('MASTER_ADDR', '(not set)')}",
                expected="a rank below the number of processes, and the first one's address",
            )
        local = _number(environment, "LOCAL_RANK", 0)
        return cls(rank, size, local, _number(environment, "LOCAL_WORLD_SIZE", 1))

    def device(self, wanted: str) -> str:
        """Its own of the machine's GPUs for "auto" and "cuda"; any other device as it is named.

        Raises:
            ConfigError: fewer GPUs than processes on this machine.
        """
        if not deals_gpus(wanted):
            return wanted
        if self.local_size > torch.cuda.device_count():
            raise ConfigError(
                "more processes than GPUs",
                where="--device",
                got=f"{self.local_size} processes on a machine with {torch.cuda.device_count()}",
                expected="a GPU for each process",
            )
        return f"cuda:{self.local_rank}"


def deals_gpus(wanted: str) -> bool:
    """Whether each process gets a GPU of its own, where the settings name this device."""
    return wanted in ("auto", "cuda") and torch.cuda.is_available()


@contextmanager
def joined(
    place: Place | None,
    wanted: str,
    check: Callable[[], None] = lambda: None,
    *,
    shards: bool = False,
) -> Iterator[Ranks]:
    """Join the other processes of the run, for a block; without a place it is alone.

    At the block's end it waits for those that still need its part of the backbone.

    Args:
        wanted: the device that the run's settings name; see `Place.device`. Gradients are exchanged
            by NCCL between GPUs of their own, by Gloo otherwise.
        check: raises where it knows that another process has ended.
        shards: whether they shard the backbone's layers among them.

    Raises:
        ConfigError: fewer GPUs than processes on this machine.
        TrainingError: not all processes came in time.
    """
    if place is None:
        yield ALONE
        return
    device = place.device(wanted)
    # The same in all processes: a GPU that is named is one for all, though it is this one's number.
    own_gpu = deals_gpus(wanted) and distributed.is_nccl_available()
    if own_gpu:
        torch.cuda.set_device(place.local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // place.local_size))
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if own_gpu else "gloo",
        store=_everybody(place, check),
        rank=place.rank,
        world_size=place.size,
        timeout=timedelta(seconds=ANSWER_SECONDS),
    )
    try:
        wire = device if own_gpu else "cpu"
        ranks = Ranks(place.rank, place.size, wire, device, shards, check=check)
        yield ranks
        ranks.settle()
    finally:
        distributed.destroy_process_group()


def _everybody(place: Place, check: Callable[[], None]) -> object:
    """The store that all processes of the run have come to.

    Raises:
        TrainingError: not all of them came in time.
    """
    os.environ.setdefault("MASTER_PORT", "29500")
    deadline = time.monotonic() + JOIN_SECONDS
    keys = [f"cuecard/{rank}" for rank in range(place.size)]
    try:
        wait = timedelta(seconds=JOIN_SECONDS)
        store, _, _ = next(
            distributed.rendezvous("env://", rank=place.rank, world_size=place.size, timeout=wait)
        )
        store.set(keys[place.rank], "here")
        while not _come(store, keys):
            check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"not all came within {JOIN_SECONDS:g} s")
    except RuntimeError as error:
        check()
        raise TrainingError(
            "the processes of the run did not find each other",
            where=f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}",
            got=str(error).splitlines()[0][:200],
            expected=f"{place.size} processes",
        ) from error
    return store


def _come(store: object, keys: list[str]) -> bool:
    try:
        store.wait(keys, timedelta(seconds=_POLL_SECONDS))  # type: ignore[attr-defined]
    except distributed.DistStoreError:
        return False
    return True


def _number(environment: Mapping[str, str], name: str, default: int | None) -> int:
    """
    Raises:
        ConfigError: no number, or none at all where there is no default.
    """
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal():
        raise ConfigError(
            "the environment names no place among the run's processes",
            where=name,
            got="(not set)" if text is None else text,
            expected="a number from 0",
        )
    return int(text)
