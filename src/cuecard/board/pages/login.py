"""Where a browser shows its key, and ends its session."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Form, Request, Response
from starlette.responses import RedirectResponse

from cuecard.board.guard import COOKIE, LOGIN, Sessions
from cuecard.board.view import Pages

_MOST = 512  # characters of a key


def add_login(app: FastAPI, pages: Pages, sessions: Sessions) -> None:
    """Add the routes."""

    @app.get(LOGIN)
    def ask(request: Request, next: str = "/") -> Response:  # noqa: A002
        return pages.show(request, "login.html", {"wrong": False, "next": _local(next)})

    @app.post(LOGIN)
    def take(
        request: Request,
        key: Annotated[str, Form(max_length=_MOST)],
        next: Annotated[str, Form()] = "/",  # noqa: A002
    ) -> Response:
        place = _local(next)
        if not sessions.accepts(key.strip()):
            return pages.show(request, "login.html", {"wrong": True, "next": place}, status=403)
        answer = RedirectResponse(place, 303)
        answer.set_cookie(
            COOKIE,
            sessions.open(key.strip()),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    @app.post("/logout")
    def leave(request: Request) -> Response:
        sessions.close(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(COOKIE)
        return answer


def _local(place: str) -> str:
    """A path of this board; anything else would lead a browser elsewhere."""
    plain = place.startswith("/") and not place.startswith("//") and "\\" not in place
    return place if plain and place.isprintable() else "/"
