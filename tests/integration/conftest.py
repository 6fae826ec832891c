"""What tests of the real catalogue models have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def own_cache(catalogue_cache: Path) -> Iterator[None]:
    """The catalogue's cache is the one that all tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUECARD_CACHE", str(catalogue_cache))
        yield
