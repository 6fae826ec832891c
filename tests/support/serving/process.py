"""A server in a process of its own, on a port of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "cuecard"]


@dataclass
class Process:
    """A server that runs.

    Attributes:
        url: where.
        log: the file of its standard error.
    """

    popen: subprocess.Popen[str]
    url: str
    log: Path
    key: str | None = None

    def call(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status and the JSON of one request on a connection of its own."""
        request = self.request(path, body, **headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                content = reply.read()
                return reply.status, json.loads(content) if content[:1] in b"{[" else content
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def request(self, path: str, body: Any = None, **headers: str) -> urllib.request.Request:
        """A POST of JSON, or a GET."""
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if self.key is not None:
            sent["Authorization"] = f"Bearer {self.key}"
        return urllib.request.Request(self.url + path, data, sent | headers)

    def gauge(self, name: str) -> float:
        """One value of /metrics."""
        _, text = self.call("/metrics")
        lines = text.decode().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))

    def events(self, name: str) -> list[Any]:
        """What it logged; vLLM's warnings stand between."""
        written = self.log.read_text().splitlines()
        lines = [json.loads(line) for line in written if line.startswith("{")]
        return [line for line in lines if line["event"] == name]


def until(happens: Callable[[], bool]) -> None:
    """Look until it is so; pytest's own time-out ends what never is."""
    while not happens():
        time.sleep(0.02)


def environment(cache: Path) -> dict[str, str]:
    """Variables for a child: the user's, with a cache of its own and one thread."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CUECARD_")}
    return kept | {"CUECARD_CACHE": str(cache), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


@contextmanager
def serving(
    registry: Path,
    backbone: Path,
    room: Path,
    *words: str,
    key: str | None = None,
    command: Sequence[str] = COMMAND,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Process]:
    """A server, from when it listens until the block ends; then it is ended if it still runs.

    Args:
        command: what is called "cuecard".
        variables: of its environment, beside the usual ones.
    """
    room.mkdir(exist_ok=True)
    log = room / "server.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            _command(registry, backbone, words, command),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**environment(room), **(variables or {})},
        ) as popen,
    ):
        try:
            assert popen.stdout is not None
            line = popen.stdout.readline()
            assert line, log.read_text()
            yield Process(popen, json.loads(line)["url"], log, key)
        finally:
            if popen.poll() is None:
                popen.kill()


def refused(registry: Path, backbone: Path, room: Path, *words: str) -> str:
    """What a server says that does not start, with exit code 2."""
    done = subprocess.run(
        _command(registry, backbone, words),
        capture_output=True,
        text=True,
        env=environment(room),
        timeout=120,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "Traceback" not in said, said
    return said


def _command(
    registry: Path, backbone: Path, words: Sequence[str], command: Sequence[str] = COMMAND
) -> list[str]:
    fixed = ["--registry", str(registry), "--backbone", str(backbone), "--json", "--poll", "0.1"]
    fixed += ["--dtype", "fp32"]
    port = [] if "--port" in words else ["--port", "0"]
    return [*command, "serve", *fixed, *port, *words]
