"""A piece of work that is begun again and again in processes that may be killed.

They are forked from one process in which everything is imported already: torch takes seconds.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).parents[1]

# After this: what defines `work()`.
_FORKS = """
import os, sys, traceback

def life():
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)

for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        life()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

# Runs the work once and kills it when told to; its exit code, -9 if it was killed.
Live = Callable[[Callable[[], bool]], int]


@contextmanager
def forked_runs(code: str, *words: str, path: Path = TESTS) -> Iterator[Live]:
    """Runs of `work()`, which the code defines, by `sys.argv[1:]` and imports from `path`."""
    command = [sys.executable, "-c", code + _FORKS, *words]
    paths = os.pathsep.join([str(path), str(TESTS), *sys.path])
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ) as forker:
        assert forker.stdin is not None and forker.stdout is not None
        asking, telling = forker.stdin, forker.stdout

        def live(is_time: Callable[[], bool]) -> int:
            print(file=asking, flush=True)
            child = int(telling.readline())
            deadline = time.monotonic() + 120
            while not select.select([telling], [], [], 0.005)[0]:
                assert time.monotonic() < deadline, "it neither ended nor came to be killed"
                if is_time():
                    os.kill(child, signal.SIGKILL)
                    break
            return int(telling.readline())

        try:
            yield live
        finally:
            asking.close()
