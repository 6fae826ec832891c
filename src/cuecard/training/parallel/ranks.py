"""Which of a run's processes this one is, and what they exchange.

Data parallelism without a wrapper: every process has the same prompt and the whole backbone, or its
part of it (`sharding.py`), runs its share of each batch's rows, and all add up the prompt's
gradient, which takes kilobytes. The first process alone reads and writes the run's folder, and what
it decides the others are told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from cuecard.errors import TrainingError
from cuecard.interrupts import Stop
from cuecard.lazy import lazy_module, torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

distributed = lazy_module("torch.distributed")

T = TypeVar("T")


@dataclass
class Wire:
    """What a process has sent since it was last asked, and how long that took, waiting included.

    Attributes:
        nbytes: sent; what a process sends to itself does not count.
        seconds: in exchanges.
    """

    nbytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Ranks:
    """A process among those of one run.

    Attributes:
        rank: its number; 0 has the folder and decides.
        size: how many there are.
        device: where gradients are while they are exchanged.
        own_device: where it has the backbone; None for where its settings say.
        shards: whether the backbone's layers are sharded among them.
        wire: what was exchanged so far.
        check: called where an exchange failed; may know better why, and raise it.
        settling: called before every exchange but those of layers.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    own_device: str | None = None
    shards: bool = False
    wire: Wire = field(default_factory=Wire)
    check: Callable[[], None] = lambda: None
    settling: list[Callable[[], None]] = field(default_factory=list)

    @property
    def leads(self) -> bool:
        """Whether it is the one with the run's folder."""
        return self.rank == 0

    def share(self, rows: Sequence[T]) -> Sequence[T]:
        """Its rows of a batch: all shares together are the batch, and no two differ by over one."""
        return rows if self.size == 1 else rows[self.rank :: self.size]

    def same(self, make: Callable[[], T]) -> T:
        """What the first process makes; the others wait for it.

        Raises:
            Stop: Ctrl-C in the first process, for all of them.
            TrainingError: the first process failed, for the others, or another one was lost.
        """
        if self.size == 1:
            return make()
        made: Any = None
        try:
            if self.leads:
                made = make()
        except BaseException as error:
            with suppress(TrainingError):  # what went wrong here is what to report
                self._told("stopped" if isinstance(error, Stop) else "failed")
            raise
        how, found = self._told("made", made)
        if how == "stopped":
            raise Stop
        if how == "failed":
            raise TrainingError("the run's first process ended with an error", where="process 0")
        value: T = found
        return value

    def _told(self, how: str, made: Any = None) -> tuple[str, Any]:
        """How the first process fared, and what it made."""
        said = [how, made]
        with self._exchange(0):
            distributed.broadcast_object_list(said, src=0, device=torch.device("cpu"))
        return said[0], said[1]

    def settle(self) -> None:
        """Help the other processes until all of them have come to their next exchange.

        Raises:
            TrainingError: another process was lost, or did not answer in time.
        """
        for one in self.settling:
            one()

    def numbers(self, own: int) -> list[int]:
        """A number of each process, in the order of their ranks; settles nothing."""
        every = torch.empty(self.size, dtype=torch.int64)
        with self.exchanging(every.element_size() * (self.size - 1)):
            distributed.all_gather_single(every, torch.tensor([own]))
        found: list[int] = every.tolist()
        return found

    def sums(self, numbers: Sequence[float]) -> list[float]:
        """Each number summed over all processes, in float64 and in the order of their ranks."""
        if self.size == 1:
            return [*numbers]
        summed: list[float] = self._sum(torch.tensor(numbers, dtype=torch.float64)).tolist()
        return summed

    def sum_gradients(
        self, parameters: Sequence[Parameter], numbers: Sequence[float]
    ) -> list[float]:
        """Give each parameter the sum of all processes' gradients, the same bits in each of them.

        Args:
            numbers: to be summed as well.

        Returns:
            Their sums.
        """
        if self.size == 1:
            return [*numbers]
        # First of all who has one: a parameter that no process used keeps no gradient.
        used = [0.0 if parameter.grad is None else 1.0 for parameter in parameters]
        told = self.sums([*used, *numbers])
        some = [one for one, count in zip(parameters, told, strict=False) if count]
        if some:
            sizes = [parameter.numel() for parameter in some]
            flat = torch.cat([_gradient(parameter).flatten() for parameter in some])
            flat = self._sum(flat.to(self.device)).to(flat.device)
            for parameter, part in zip(some, torch.split(flat, sizes), strict=True):
                parameter.grad = part.view_as(parameter).to(parameter.dtype)
        return told[len(used) :]

    def copy(self, parameters: Sequence[Parameter]) -> None:
        """Give every process the first one's numbers: processors of two kinds round differently."""
        if self.size == 1:
            return
        for parameter in parameters:
            there = parameter.detach().to(self.device).contiguous()
            with self._exchange(there.nbytes * (self.size - 1) * self.leads):
                distributed.broadcast(there, src=0)
            with torch.no_grad():
                parameter.copy_(there)

    def spent(self) -> dict[str, float]:
        """What a step's exchange took, for the log: bytes that were sent, and seconds."""
        if self.size == 1:
            return {}
        wire = self.wire
        found = {"sent_bytes": wire.nbytes, "exchange_seconds": round(wire.seconds, 5)}
        wire.nbytes, wire.seconds = 0, 0.0
        return found

    def _sum(self, own: Tensor) -> Tensor:
        """Gathered and added one after the other, so that the order never depends on a network."""
        every = [torch.empty_like(own) for _ in range(self.size)]
        with self._exchange(own.nbytes * (self.size - 1)):
            distributed.all_gather(every, own)
        total = every[0]
        for more in every[1:]:
            total = total + more
        return total

    @contextmanager
    def _exchange(self, nbytes: int) -> Iterator[None]:
        self.settle()
        with self.exchanging(nbytes):
            yield

    @contextmanager
    def exchanging(self, nbytes: int) -> Iterator[None]:
        """Count an exchange, and say what went wrong in it.

        Raises:
            TrainingError: another process was lost, or did not answer in time.
        """
        started = time.monotonic()
        try:
            yield
        except RuntimeError as error:
            self.check()
            raise TrainingError(
                "another process of the run was lost",
                where=f"process {self.rank} of {self.size}",
                got=str(error).splitlines()[0][:200],
                expected=f"an answer from each of {self.size} processes",
                hint="the same command resumes the run from its last checkpoint",
            ) from error
        self.wire.nbytes += nbytes
        self.wire.seconds += time.monotonic() - started


ALONE = Ranks()


def _gradient(parameter: Parameter) -> Tensor:
    """In float32 at least; zeros where this process had no row that it matters for."""
    found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return found if found.dtype == torch.float64 else found.float()
