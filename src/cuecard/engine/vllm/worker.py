"""Runs in vLLM's processes: ends them when the server that started them has died.

They watch each other but not their parent: a server that is killed would leave them running, with
gigabytes of memory.
"""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil

_POLL_SECONDS = 1.0


class EndsWithServer:
    """Mixin that vLLM adds to each of its workers."""

    def end_with_server(self, pid: int) -> None:
        """From now on, kill this process and its parent once the server has exited."""
        server = psutil.Process(pid)
        threading.Thread(target=_watch, args=(server,), name="server-watch", daemon=True).start()


def _watch(server: psutil.Process) -> None:
    core = os.getppid()
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        time.sleep(_POLL_SECONDS)
    if os.getppid() == core:
        os.kill(core, signal.SIGKILL)
    os._exit(1)
