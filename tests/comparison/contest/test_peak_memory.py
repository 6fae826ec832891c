"""The most memory at once, within a block."""

from __future__ import annotations

import numpy as np
import torch

from cuecard.comparison.contest.peak_memory import peak_memory


def test_what_is_freed_again_is_counted_and_earlier_peaks_are_not() -> None:
    cpu = torch.device("cpu")
    with peak_memory(cpu) as quiet:
        pass
    with peak_memory(cpu) as busy:
        np.ones(50_000_000, dtype=np.uint8).sum()
    with peak_memory(cpu) as after:
        pass
    if quiet.nbytes is None or busy.nbytes is None or after.nbytes is None:
        return  # not Linux
    assert busy.nbytes - quiet.nbytes > 40_000_000
    assert busy.nbytes - after.nbytes > 40_000_000
