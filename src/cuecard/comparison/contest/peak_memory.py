"""The most memory that a piece of work held at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cuecard.lazy import torch

if TYPE_CHECKING:
    import torch as torch_types

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class PeakMemory:
    """What `peak_memory` finds.

    Attributes:
        nbytes: of the process on a CPU, the model counted in; of torch's tensors on a GPU; None
            where the system does not say.
    """

    nbytes: int | None = None


@contextmanager
def peak_memory(device: torch_types.device) -> Iterator[PeakMemory]:
    """Measure the block. On a CPU this takes Linux, which can forget earlier peaks."""
    found = PeakMemory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found.nbytes = int(torch.cuda.max_memory_allocated(device))
        return
    reset = False
    with suppress(OSError):
        _RESET.write_text("5")  # see proc(5): the peak becomes what is held now
        reset = True
    yield found
    if reset:
        found.nbytes = _high_water()


def _high_water() -> int | None:
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * 1024
    return None
