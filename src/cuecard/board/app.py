"""The board as an ASGI application."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp

from cuecard.board.guard import Guard, Sessions
from cuecard.board.jobs import Jobs
from cuecard.board.missing import MissingError
from cuecard.board.pages.cases import CasesPage
from cuecard.board.pages.compare import ComparePage
from cuecard.board.pages.comparison import ComparisonDetails
from cuecard.board.pages.data import DataPage
from cuecard.board.pages.details import Details
from cuecard.board.pages.login import add_login
from cuecard.board.pages.new import NewPage
from cuecard.board.pages.play import PlayPage
from cuecard.board.pages.registry import RegistryPage
from cuecard.board.pages.run import RunPage
from cuecard.board.pages.runs import RunsPage
from cuecard.board.pages.search import SearchDetails
from cuecard.board.records.index import FileCache, RunIndex
from cuecard.board.records.thumbnails import Thumbnails
from cuecard.board.settings import BoardSettings
from cuecard.board.upstream import Upstream
from cuecard.board.view import Pages, tagged
from cuecard.errors import CuecardError
from cuecard.runs.run_kinds import COMPARE, SEARCH, RunKind
from cuecard.serving.http.auth import KeyStore

STATIC = Path(str(files("cuecard.board"))) / "static"
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class BoardApp:
    """A board, ready to be served.

    Attributes:
        app: what answers.
        jobs: what was started from it.
    """

    app: ASGIApp
    jobs: Jobs


def build_board(settings: BoardSettings, *, exported: bool = False) -> BoardApp:
    """Make the board's application.

    Args:
        exported: for pages that are written to files: without what asks the board again.

    Raises:
        ConfigError: a file of keys that cannot be read, or a server whose address is none.
    """
    sessions = Sessions(None if settings.keys is None else KeyStore(settings.keys))
    pages = Pages(sessions, playground=settings.server is not None, exported=exported)
    index, cache, jobs = RunIndex(settings.runs), FileCache(), Jobs()
    thumbnails = Thumbnails()
    app = FastAPI(title="cuecard board", docs_url=None, redoc_url=None, openapi_url=None)
    RunsPage(pages, index, cache).add_to(app)
    CasesPage(pages, index, cache, thumbnails).add_to(app)
    ComparePage(pages, index, cache).add_to(app)
    details: dict[RunKind, Details] = {
        COMPARE: ComparisonDetails(index, cache),
        SEARCH: SearchDetails(cache),
    }
    RunPage(pages, index, cache, settings.flags, details).add_to(app)
    DataPage(pages, Path(), thumbnails).add_to(app)
    NewPage(pages, index, jobs, sessions, settings.flags).add_to(app)
    RegistryPage(pages, settings.registry, sessions).add_to(app)
    if settings.server is not None:
        PlayPage(pages, Upstream(settings.server, settings.server_key), sessions).add_to(app)
    add_login(app, pages, sessions)
    _add_images(app, thumbnails)
    _add_static(app)
    _add_errors(app, pages)
    return BoardApp(Guard(app, sessions), jobs)


def _add_images(app: FastAPI, thumbnails: Thumbnails) -> None:
    @app.get("/images/{digest}")
    def image(request: Request, digest: str) -> Response:
        found = thumbnails.get(digest)
        if found is None:
            raise HTTPException(404)
        return tagged(request, found, "image/png")


def _add_static(app: FastAPI) -> None:
    known = {path.name: path for path in STATIC.rglob("*") if path.suffix in _TYPES}

    @app.get("/static/{name}")
    def static(request: Request, name: str) -> Response:
        if name not in known:
            raise HTTPException(404)
        path = known[name]
        return tagged(request, path.read_bytes(), _TYPES[path.suffix])

    @app.get("/favicon.ico")
    def icon() -> Response:
        return RedirectResponse("/static/icon.svg")


def _add_errors(app: FastAPI, pages: Pages) -> None:
    def show(request: Request, status: int, facts: dict[str, str | None]) -> Response:
        return pages.show(request, "error.html", {"error": facts}, status=status)

    @app.exception_handler(CuecardError)
    def user_error(request: Request, error: CuecardError) -> Response:
        missing = isinstance(error, MissingError)
        return show(request, 404 if missing else 400, error.to_dict())

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> Response:
        what = "there is no such page" if error.status_code == 404 else str(error.detail)
        return show(request, error.status_code, CuecardError(what).to_dict())
