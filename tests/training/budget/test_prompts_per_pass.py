from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

from cuecard.training.budget.activation_checkpointing import plan_activations
from cuecard.training.budget.prompts_per_pass import fit_together
from support.tiny import tiny_backbone


def test_what_fits_goes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()
    each = plan_activations("keep", backbone, 100).nbytes
    for room, expected in ((0.5, 1), (3.2, 3), (1000, 8)):
        free = SimpleNamespace(available=int(4 * each * room))  # a quarter of it may be taken
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: free)
        assert fit_together(backbone, 100) == expected
