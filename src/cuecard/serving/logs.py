"""Structured logs: one JSON object a line, with request ids and without request content."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO


class JsonLog:
    """Writes events as JSON lines.

    Args:
        out: the stream; by default standard error.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out

    def write(self, event: str, **facts: Any) -> None:
        """Write one line: the time, the event, and the facts that are not None."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        known = {name: value for name, value in facts.items() if value is not None}
        line = json.dumps({"at": at, "event": event, **known}, ensure_ascii=True, default=str)
        out = self._out or sys.stderr
        out.write(line + "\n")
        out.flush()

    def failure(self, event: str, error: BaseException, **facts: Any) -> None:
        """Write an exception's type and stack, but not its message, which may quote a request."""
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        self.write(event, error=type(error).__name__, trace=places, **facts)


class LibraryLog(logging.Handler):
    """A `logging` handler that forwards the HTTP server's records to a `JsonLog`."""

    def __init__(self, log: JsonLog) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line per record."""
        level = record.levelname.lower()
        if record.exc_info and record.exc_info[1] is not None:
            self._log.failure("http", record.exc_info[1], level=level, logger=record.name)
        else:
            self._log.write("http", level=level, logger=record.name, message=record.getMessage())
