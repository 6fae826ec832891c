"""Trainings that were started from the board: child processes that go on without it."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from cuecard.board.missing import MissingError
from cuecard.errors import ConfigError

_TAIL = 20_000  # bytes of output that are shown
_MOST_RUNNING = 8

JobState = Literal["running", "done", "stopped", "failed"]
_STATES: dict[int, JobState] = {0: "done", 130: "stopped", -signal.SIGINT: "stopped"}


@dataclass(frozen=True)
class Job:
    """A command that was started.

    Attributes:
        id: its address.
        words: the command line, as it is shown.
        folder: the run's.
    """

    id: str
    words: tuple[str, ...]
    folder: Path
    process: subprocess.Popen[bytes]
    output: IO[bytes]

    @property
    def command(self) -> str:
        """The command line."""
        return shlex.join(self.words)

    @property
    def state(self) -> JobState:
        """How it is."""
        code = self.process.poll()
        return "running" if code is None else _STATES.get(code, "failed")

    def told(self) -> str:
        """The end of what it printed."""
        file = self.output.fileno()
        begin = max(0, os.fstat(file).st_size - _TAIL)
        # The child writes at the file's position, which reading would move.
        return os.pread(file, _TAIL, begin).decode("utf-8", "replace")


class Jobs:
    """The commands that this board has started, newest first."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def all(self) -> list[Job]:
        """Every job."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def find(self, name: str) -> Job:
        """A job by its id.

        Raises:
            MissingError: there is none.
        """
        with self._lock:
            found = self._jobs.get(name)
        if found is None:
            raise MissingError("there is no such job", got=name)
        return found

    def start(self, words: Sequence[str], folder: Path) -> Job:
        """Start `cuecard` with these words after its name, in the working directory.

        Raises:
            ConfigError: too many run already, or it cannot be started.
        """
        with self._lock:
            running = sum(job.state == "running" for job in self._jobs.values())
            if running >= _MOST_RUNNING:
                raise ConfigError(
                    "too many trainings run already", got=running, expected="stop one of them first"
                )
            output = tempfile.TemporaryFile()  # noqa: SIM115 - kept as long as the job is shown
            try:
                process = subprocess.Popen(
                    [sys.executable, "-m", "cuecard", *words],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C in the board's terminal is not for it.
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                output.close()
                raise ConfigError("the training cannot be started", got=error) from error
            job = Job(secrets.token_hex(8), ("cuecard", *words), folder, process, output)
            self._jobs[job.id] = job
        return job

    def close(self) -> None:
        """Let go of what the jobs print; those that run go on."""
        for job in self.all():
            job.output.close()

    def stop(self, name: str) -> Job:
        """Send a job what Ctrl-C sends: it saves its checkpoint and ends.

        Raises:
            MissingError: there is none.
        """
        job = self.find(name)
        if job.state == "running":
            job.process.send_signal(signal.SIGINT)
        return job
