"""The other processes of a run, where one command starts all of them on its own machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

from cuecard.errors import ConfigError, TrainingError

# How long processes may take to end that were asked to.
_GRACE_SECONDS = 10.0


def environment_of(count: int, rank: int, port: int) -> dict[str, str]:
    """Where a process finds the others on this machine, as torchrun says it."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    named = {name: str(number) for name, number in numbers.items()}
    return {**named, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


class LocalProcesses:
    """The processes 1, 2, ... beside this one, which is 0.

    Their standard error is kept, to say why one of them ended.
    """

    def __init__(self) -> None:
        self._running: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start one. Ctrl-C at the terminal does not reach it: this process tells it to stop."""
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process is
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        self._running.append((process, errors))

    def check(self) -> None:
        """
        Raises:
            TrainingError: one of them ended with an error, which is shown.
        """
        for rank, (process, errors) in enumerate(self._running, 1):
            code = process.poll()
            if code:
                raise TrainingError(
                    "another process of the run ended",
                    where=f"process {rank} of {len(self._running) + 1}",
                    got=_why(code, errors),
                    expected="processes that stay to the end of the training",
                    hint="the same command resumes the run from its last checkpoint",
                )

    def terminate(self) -> None:
        """Ask all that are left to end now."""
        for process, _ in self._running:
            process.terminate()

    def end(self) -> None:
        """Wait for all of them, and end those that do not end by themselves."""
        for process, errors in self._running:
            try:
                process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            errors.close()


@contextmanager
def launched(count: int | None, command: Sequence[str]) -> Iterator[LocalProcesses]:
    """Start count - 1 further processes for a block, and make this one the first of them.

    Args:
        command: what each of them runs.
        count: None starts none.

    Raises:
        ConfigError: the environment says that another number of them is started already.
    """
    others, size = LocalProcesses(), os.environ.get("WORLD_SIZE", "1")
    if size != "1":  # somebody has started all of them already, perhaps this very function
        if count is not None and str(count) != size:
            raise ConfigError(
                "the run's processes are started already, and not as many",
                where="--launch",
                got=f"{count}, where WORLD_SIZE is {size}",
                expected="torchrun alone, or --launch alone",
            )
        count = None
    if count is None or count == 1:
        yield others
        return
    port, before = _free_port(), dict(os.environ)
    try:
        for rank in range(1, count):
            others.start(command, environment_of(count, rank, port))
        os.environ.update(environment_of(count, 0, port))
        yield others
    except BaseException:
        others.terminate()
        raise
    finally:
        others.end()
        for name in environment_of(count, 0, port):
            os.environ.pop(name, None)
        os.environ.update(before)


def this_command() -> list[str]:
    """The command line of this process, for another one of the same."""
    return [sys.executable, "-m", "cuecard", *sys.argv[1:]]


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port


def _why(code: int, errors: IO[bytes]) -> str:
    """An exit code or a signal, and the last line that the process wrote."""
    errors.seek(0)
    lines = errors.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
    ended = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"{ended}: {lines[-1]}" if lines else ended
