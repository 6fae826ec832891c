"""`cuecard serve` as a process, for as long as a benchmark asks it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.places import ROOT
from cuecard.errors import ConfigError

_END = 60.0


@dataclass(frozen=True)
class ServerProcess:
    """A server of a registry.

    Attributes:
        url: its address.
        model: what it calls the backbone.
        pid: of the process.
        ready_s: from its start until it listened.
    """

    url: str
    model: str
    pid: int
    ready_s: float


@contextmanager
def serving(
    model: str, registry: Path, log: Path, flags: Sequence[str] = (), threads: int = 1
) -> Iterator[ServerProcess]:
    """Serve a registry, and end the server afterwards.

    Args:
        log: gets what the server writes on standard error.
        flags: of `cuecard serve`, beside the backbone's and the registry's.

    Raises:
        ConfigError: it did not start.
    """
    command = [
        *(sys.executable, "-m", "cuecard", "serve", "--backbone", model, "--port", "0", "--json"),
        *("--registry", str(registry), *flags),
    ]
    env = os.environ | {"OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    with log.open("w") as errors:
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env, cwd=ROOT
        )
        try:
            facts = _facts(server, log)
            ready = time.perf_counter() - began
            yield ServerProcess(str(facts["url"]), str(facts["backbone"]), server.pid, ready)
        finally:
            server.terminate()
            try:
                server.wait(_END)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            if server.stdout is not None:
                server.stdout.close()


def _facts(server: subprocess.Popen[str], log: Path) -> dict[str, Any]:
    """What it says of itself once it listens."""
    assert server.stdout is not None
    seen = ""
    for line in server.stdout:
        row = json.loads(line) if line.startswith("{") else {}
        if "url" in row:
            return dict(row)
        seen = line
    raise ConfigError("the server did not start", where=str(log), got=seen.strip()[:300])
