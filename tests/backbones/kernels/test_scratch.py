"""Room is used again, and nothing that is in use is given away."""

from __future__ import annotations

import torch

from cuecard.backbones.kernels import scratch as scratch
from cuecard.backbones.kernels.scratch import ScratchBuffer


def test_what_is_taken_together_is_apart() -> None:
    memory = ScratchBuffer(torch.float32, torch.device("cpu"))
    first = memory.take((2, 3)).fill_(1)
    second = memory.take((5000,)).fill_(2)  # more than was there
    third = memory.take((4,)).fill_(3)
    assert (first.shape, second.shape, third.shape) == ((2, 3), (5000,), (4,))
    assert bool((first == 1).all() and (second == 2).all() and (third == 3).all())


def test_the_same_memory_the_next_time() -> None:
    memory = ScratchBuffer(torch.float32, torch.device("cpu"))
    before = memory.take((100,)).data_ptr()
    memory.clear()
    assert memory.take((10, 10)).data_ptr() == before


def test_no_more_is_kept_than_a_limit() -> None:
    memory = ScratchBuffer(torch.float32, torch.device("cpu"))
    kept = memory.take((64,))
    large = memory.take((scratch._MOST_BYTES // 4,))
    assert large.untyped_storage().data_ptr() != kept.untyped_storage().data_ptr()
    memory.clear()
    assert memory.take((64,)).data_ptr() == kept.data_ptr()
