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
def environment(catalogue_cache: Path) -> dict[str, str]:
    """The variables of a user's shell."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CUECARD_")}
    # A process that hangs can be made to tell where.
    own = {"CUECARD_CACHE": str(catalogue_cache), "COLUMNS": "100", "PYTHONFAULTHANDLER": "1"}
    return kept | own


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
