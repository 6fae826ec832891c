"""Run the board: listen, say where, and end at Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from cuecard.board.app import build_board
from cuecard.board.settings import BoardSettings
from cuecard.serving.http.listening import bind, url_of
from cuecard.serving.settings import ServerSettings, check_settings

_CLOSE_SECONDS = 2


def serve_board(settings: BoardSettings, on_listening: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        on_listening: called with the board's URL once it can be asked.

    Raises:
        ConfigError: a public address without keys, keys that cannot be read, or an address that
            cannot be bound.
    """
    # The same rules for addresses and keys as the server of prompts has.
    check_settings(ServerSettings(host=settings.host, port=settings.port, keys=settings.keys))
    board = build_board(settings)
    listener = bind(settings.host, settings.port)
    config = uvicorn.Config(
        board.app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_CLOSE_SECONDS,
    )
    server = _Uvicorn(config, lambda: on_listening(url_of(listener)))
    try:
        asyncio.run(server.serve(sockets=[listener]))
    finally:
        listener.close()
        board.jobs.close()


class _Uvicorn(uvicorn.Server):
    """Tells when it listens, and ends at a signal without being killed by it afterwards."""

    def __init__(self, config: uvicorn.Config, told: Callable[[], None]) -> None:
        super().__init__(config)
        self._told = told

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the serving."""
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: object = None) -> None:
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            self._told()
