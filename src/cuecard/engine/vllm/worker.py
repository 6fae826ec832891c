"""Runs in vLLM's processes: ends them with the server that began them.

They watch one another, but not who began them: a server that is killed would leave them, and the
gigabytes that they hold, behind.
"""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil

_LOOK_SECONDS = 1.0


class EndsWithServer:
    """What vLLM adds to each of its workers."""

    def end_with_server(self, pid: int) -> None:
        """From now on, end this process and the one that began it once the server is gone."""
        server = psutil.Process(pid)
        threading.Thread(target=_watch, args=(server,), name="server-watch", daemon=True).start()


def _watch(server: psutil.Process) -> None:
    core = os.getppid()
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        time.sleep(_LOOK_SECONDS)
    if os.getppid() == core:
        os.kill(core, signal.SIGKILL)
    os._exit(1)
