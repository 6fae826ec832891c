"""Two processes that are forked again and again from one in which everything is imported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.forked_runs import forked_runs

# A model of each kind first, so that what makes it is imported before anything is forked.
_WORK = """
from support.tiny import tiny_model
from support.two_processes import work
for kind in ("llama", "gpt2", "opt", "bloom-alibi"):
    tiny_model(kind)
"""

Left = Callable[..., list[dict[str, Any]]]
Pair = Callable[..., tuple[str, str]]


@pytest.fixture
def pair(left: Left) -> Pair:
    """Runs two processes; what each of them ended with."""

    def run(folder: Path, **asked: Any) -> tuple[str, str]:
        first, second = left(folder, **asked)
        return first.get("said", ""), second.get("said", "")

    return run


@pytest.fixture(scope="package")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    """Runs two processes; what each of them left, empty for one that was killed."""
    place = tmp_path_factory.mktemp("pair")
    with forked_runs(_WORK, str(place)) as live:

        def run(folder: Path, **asked: Any) -> list[dict[str, Any]]:
            (place / "asked.json").write_text(json.dumps({**asked, "folder": str(folder)}))
            for left in place.glob("left-*.json"):
                left.unlink()
            assert live(lambda: False) == 0
            files = [place / f"left-{rank}.json" for rank in (0, 1)]
            return [json.loads(file.read_text()) if file.exists() else {} for file in files]

        yield run
