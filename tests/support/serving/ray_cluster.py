"""Replicas on a Ray cluster of this machine: who they are, and what each has logged."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from support.serving.process import COMMAND, Process, environment

_REPLICA, _COUNTS = (f"ray::ServeReplica:cuecard:{name}" for name in ("PromptReplica", "KeyCounts"))


@dataclass
class Cluster(Process):
    """A cluster that a command has started.

    Attributes:
        room: Ray's own folder.
    """

    room: Path = Path()

    @property
    def replicas(self) -> dict[int, psutil.Process]:
        """Its replicas, by their process ids."""
        return self._called(_REPLICA)

    @property
    def counting(self) -> dict[int, psutil.Process]:
        """What counts keys' use for all of them."""
        return self._called(_COUNTS)

    def _called(self, name: str) -> dict[int, psutil.Process]:
        found = {}
        for process in psutil.Process(self.popen.pid).children(recursive=True):
            try:
                if " ".join(process.cmdline()).startswith(name):
                    found[process.pid] = process
            except psutil.Error:
                continue
        return found

    def logged(self, replica: int, event: str) -> list[Any]:
        """What a replica has logged, also one that has ended."""
        (path,) = self.room.glob(f"session_2*/logs/worker-*-{replica}.err")
        lines = [line for line in path.read_text().splitlines() if line.startswith('{"at"')]
        return [found for found in map(json.loads, lines) if found["event"] == event]


@contextmanager
def deployed(registry: Path, backbone: Path, *words: str, key: str | None) -> Iterator[Cluster]:
    """`cuecard deploy ray` without a cluster, from when it is ready until the block ends."""
    room = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # names of sockets are short
    fixed = ["--registry", str(registry), "--backbone", str(backbone), "--dtype", "fp32"]
    errors = room / "errors.log"
    variables = environment(room / "cache") | {"RAY_TMPDIR": str(room), "RAY_AUTH_MODE": "disabled"}
    with (
        errors.open("w") as written,
        subprocess.Popen(
            [*COMMAND, "deploy", "ray", *fixed, "--json", "--port", "0", "--poll", "0.2", *words],
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
            env=variables,
        ) as popen,
    ):
        try:
            assert popen.stdout is not None
            line = popen.stdout.readline()
            assert line, errors.read_text()
            yield Cluster(popen, json.loads(line)["url"], errors, key, room / "ray")
        finally:
            end(popen)
    shutil.rmtree(room)


def end(popen: subprocess.Popen[str]) -> list[int]:
    """End a cluster's command, by force if it must be; the processes that are left of it."""
    if popen.poll() is not None:
        return []
    children = psutil.Process(popen.pid).children(recursive=True)
    popen.send_signal(signal.SIGTERM)
    try:
        popen.wait(60)
    except subprocess.TimeoutExpired:
        popen.kill()
    _, left = psutil.wait_procs(children, timeout=10)
    for process in left:
        process.kill()
    return [process.pid for process in left]
