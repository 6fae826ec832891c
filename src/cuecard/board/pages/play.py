"""One input, several prompts side by side, on a running server."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from starlette.responses import StreamingResponse

from cuecard.board.guard import Sessions
from cuecard.board.upstream import Upstream
from cuecard.board.view import Pages, drawn
from cuecard.errors import ConfigError, CuecardError
from cuecard.evaluation.charts.shares import bar
from cuecard.tasks.kinds import KINDS
from cuecard.tasks.kinds.base import AnswerMode

MOST_MODELS = 8
_MOST_TEXT = 20_000  # in an address
Way = Literal["classify", "complete"]
# How a task's answers are had; the others are no texts in, labels or texts out.
_WAYS: Mapping[AnswerMode, Way] = {
    "labels": "classify",
    "options": "classify",
    "head": "classify",
    "text": "complete",
}


@dataclass(frozen=True)
class PlayPage:
    """`/play`, and what it loads for each model."""

    pages: Pages
    upstream: Upstream
    sessions: Sessions

    def add_to(self, app: FastAPI) -> None:
        """Add the routes."""

        @app.get("/play")
        def play(
            request: Request,
            model: Annotated[list[str], Query()] = [],  # noqa: B006 - FastAPI's own copy
        ) -> Response:
            data, error = self._facts(request, model)
            return self.pages.show(request, "play.html", data, status=400 if error else 200)

        @app.get("/play/answer")
        def answer(request: Request, model: str) -> Response:
            try:
                data = self._classified(request, model)
            except CuecardError as error:
                data = {"error": error.to_dict(), "answers": []}
            shares = {
                label: drawn(bar(share, f"{share:.3f}"))
                for one in data["answers"]
                for label, share in one["probabilities"]
            }
            return self.pages.show(request, "answer.html", data, bars=shares)

        @app.get("/play/stream")
        def stream(request: Request, model: str) -> Response:
            body = _completion(model, _inputs(request)) | {
                "stream_options": {"include_usage": True}
            }
            return StreamingResponse(
                _events(self.upstream, body, self.sessions.secret_of(request)),
                media_type="text/event-stream",
                headers={"Cache-Control": "no-store"},
            )

    def _facts(self, request: Request, chosen: Sequence[str]) -> tuple[dict[str, Any], bool]:
        inputs = _inputs(request)
        data: dict[str, Any] = {
            "server": self.upstream.url,
            "models": [],
            "chosen": list(dict.fromkeys(chosen)),
            "inputs": inputs,
            "fields": ["text"],
            "columns": [],
            "error": None,
        }
        try:
            cards = {
                str(card.get("id")): card
                for card in self.upstream.models(self.sessions.secret_of(request))
            }
            data["models"] = [
                {"id": name, "kind": card.get("kind")} for name, card in cards.items()
            ]
            wanted = [_card(cards, name) for name in data["chosen"]]
            if len(wanted) > MOST_MODELS:
                raise ConfigError("too many models", got=len(wanted), expected=f"{MOST_MODELS}")
            named = [field for card in wanted for field in card.get("fields") or ["text"]]
            data["fields"] = list(dict.fromkeys(named)) or ["text"]
            if any(inputs.values()):
                data["columns"] = [self._column(card, inputs) for card in wanted]
        except CuecardError as error:
            data["error"] = error.to_dict()
        return data, data["error"] is not None

    def _column(self, card: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
        """A model's column: how it is asked, and the same as curl."""
        name, kind = str(card["id"]), card.get("kind")
        way = "complete" if kind is None else _WAYS.get(KINDS[kind].mode) if kind in KINDS else None
        own = {f: inputs.get(f, "") for f in card.get("fields") or ["text"]}
        bodies = {
            "classify": ("/v1/classify", _question(name, own)),
            "complete": ("/v1/completions", _completion(name, own)),
        }
        path, body = bodies[way] if way else ("", {})
        words = ["curl", f"{self.upstream.url.rstrip('/').removesuffix('/v1')}{path}"]
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        return {
            "model": name,
            "root": card.get("root"),
            "kind": kind,
            "way": way,
            "query": [("model", name), *((f"field.{key}", text) for key, text in own.items())],
            "curl": shlex.join(words) if way else "",
        }

    def _classified(self, request: Request, model: str) -> dict[str, Any]:
        started = time.perf_counter()
        secret = self.sessions.secret_of(request)
        found = self.upstream.ask("/v1/classify", _question(model, _inputs(request)), secret)
        seconds = time.perf_counter() - started
        try:
            answers = [
                {
                    "label": str(row["label"]),
                    "version": str(row["version"]),
                    "cut": int(row["cut"]),
                    "probabilities": sorted(
                        ((str(k), float(v)) for k, v in row["probabilities"].items()),
                        key=lambda item: -item[1],
                    ),
                }
                for row in found["data"]
            ]
            tokens = int(found["usage"]["total_tokens"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError("the server's answer cannot be read", got=error) from error
        return {"answers": answers, "seconds": seconds, "tokens": tokens, "error": None}


def _inputs(request: Request) -> dict[str, str]:
    """The input's fields; `text` where there is one alone.

    Raises:
        ConfigError: a text that is too long.
    """
    found = {
        key.removeprefix("field."): text
        for key, text in request.query_params.items()
        if key.startswith("field.")
    }
    if any(len(text) > _MOST_TEXT for text in found.values()):
        raise ConfigError("the input is too long", expected=f"at most {_MOST_TEXT:,} characters")
    return found


def _card(cards: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    found = cards.get(name)
    if found is None:
        raise ConfigError("there is no such model on the server", got=name)
    return found


def _question(model: str, inputs: Mapping[str, str]) -> dict[str, Any]:
    """The body for `/v1/classify`."""
    return {"model": model, "input": dict(inputs)}


def _completion(model: str, inputs: Mapping[str, str]) -> dict[str, Any]:
    """The body for `/v1/completions`."""
    asked: dict[str, Any] = {"model": model}
    if len(inputs) > 1:
        return asked | {"fields": dict(inputs)}
    return asked | {"prompt": next(iter(inputs.values()), "")}


def _events(upstream: Upstream, body: Mapping[str, Any], key: str | None) -> Iterator[bytes]:
    """The server's events as they are; what is refused as an event of its own."""
    try:
        yield from upstream.stream("/v1/completions", body, key)
    except CuecardError as error:
        yield b"event: refused\ndata: " + json.dumps(error.to_dict()).encode() + b"\n\n"
