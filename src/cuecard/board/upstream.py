"""A running `cuecard serve`, asked over HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cuecard.errors import ConfigError, EngineError

_SECONDS = 120.0
_MOST_BYTES = 1 << 24
_CONNECTIONS: Mapping[str, type[http.client.HTTPConnection]] = {
    "http": http.client.HTTPConnection,
    "https": http.client.HTTPSConnection,
}


@dataclass(frozen=True)
class Upstream:
    """A server of prompts.

    Attributes:
        url: its address.
        key: what it is asked with if a request brings no key of its own; None for none.
    """

    url: str
    key: str | None = None

    def __post_init__(self) -> None:
        """
        Raises:
            ConfigError: not an address of HTTP.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in _CONNECTIONS or not parts.hostname or parts.query:
            raise ConfigError(
                "not the address of a server",
                where="--server",
                got=self.url,
                expected="such as http://127.0.0.1:8000",
            )

    def models(self, key: str | None = None) -> list[Mapping[str, Any]]:
        """The models that may be asked, as `/v1/models` tells them.

        Raises:
            EngineError: no answer, or none of such a server.
        """
        found = self.ask("/v1/models", None, key).get("data")
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self._odd("no list of models")
        return found

    def ask(self, path: str, body: Mapping[str, Any] | None, key: str | None) -> dict[str, Any]:
        """What a route answers.

        Args:
            body: what is posted as JSON; None for GET.
            key: of whoever asks; else the server's own.

        Raises:
            EngineError: no answer, or an error in the server's words.
        """
        with closing(self._connection()) as connection:
            answer = self._send(connection, path, body, key)
            try:
                content = answer.read(_MOST_BYTES)
                found = json.loads(content)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise self._odd(f"{answer.status}: {error}") from error
        if answer.status != 200:
            raise self._refused(answer.status, found)
        if not isinstance(found, dict):
            raise self._odd("not an object")
        return found

    def stream(self, path: str, body: Mapping[str, Any], key: str | None) -> Iterator[bytes]:
        """The lines of a route's server-sent events, as they come.

        Raises:
            EngineError: as `ask`, before the first line.
        """
        with closing(self._connection()) as connection:
            answer = self._send(connection, path, {**body, "stream": True}, key)
            if answer.status != 200:
                try:
                    told = json.loads(answer.read(_MOST_BYTES))
                except ValueError:
                    told = None
                raise self._refused(answer.status, told)
            while line := answer.readline(_MOST_BYTES):
                yield line

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        kind = _CONNECTIONS[parts.scheme]
        return kind(parts.hostname or "", parts.port, timeout=_SECONDS)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        path: str,
        body: Mapping[str, Any] | None,
        key: str | None,
    ) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if secret := key or self.key:
            headers["Authorization"] = f"Bearer {secret}"
        place = urlsplit(self.url).path.rstrip("/").removesuffix("/v1") + path
        try:
            content = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", place, content, headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EngineError(
                "the server does not answer", where=self.url, got=error, hint="is it running?"
            ) from error

    def _refused(self, status: int, told: Any) -> EngineError:
        error = told.get("error") if isinstance(told, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        return EngineError(f"{message or 'the server refuses'}", where=self.url, got=status)

    def _odd(self, got: str) -> EngineError:
        return EngineError("the server's answer cannot be read", where=self.url, got=got)
