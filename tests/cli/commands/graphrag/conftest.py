"""What tests of GraphRAG's commands share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _journals_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the disk: processes are killed here, and machines are not."""
    monkeypatch.setattr(os, "fsync", lambda number: None)
