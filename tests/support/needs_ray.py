"""Tests that need Ray, which is not among what `make test` installs."""

from __future__ import annotations

import importlib.util

import pytest

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray: make test-scale"
)
