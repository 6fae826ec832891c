"""How pages are written: HTML from templates, or the same facts as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cuecard.board.guard import Sessions
from cuecard.evaluation.report import plain
from cuecard.version import __version__
from cuecard.visible import visible

NAVIGATION = (("Runs", "/"), ("New", "/new"), ("Data", "/data"), ("Registry", "/registry"))


def environment() -> Environment:
    """The templates; every value in them is escaped, and control characters are shown."""
    found = Environment(
        loader=PackageLoader("cuecard.board"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "score": lambda value: "-" if value is None else f"{value:.3f}",
        "signed": lambda value: "-" if value is None else f"{value:+.3f}",
        "count": lambda value: "-" if value is None else f"{value:,}",
        "sentence": lambda text: text[:1].upper() + text[1:],
        "when": _when,
        "query": _query,
        "with_page": lambda query, page: _query([*_pairs(query), ("page", page)]),
        "as_run": lambda slug: ("run", slug),
    }
    found.globals |= {"version": __version__}
    return found


class Pages:
    """Answers requests with pages.

    Args:
        sessions: for the tokens of forms.
        playground: whether a server is there to play with.
        exported: whether they are written to files.
    """

    def __init__(self, sessions: Sessions, *, playground: bool, exported: bool = False) -> None:
        self._templates = environment()
        self._sessions = sessions
        self._exported = exported
        if exported:
            self._navigation: tuple[tuple[str, str], ...] = tuple(
                (name, place) for name, place in NAVIGATION if place in ("/", "/registry")
            )
            return
        self._navigation = (*NAVIGATION, *((("Play", "/play"),) if playground else ()))

    def show(
        self,
        request: Request,
        template: str,
        data: Mapping[str, Any],
        *,
        status: int = 200,
        **more: Any,
    ) -> Response:
        """A page, or with `?format=json` its data.

        Args:
            data: what the page shows, as `plain` takes it.
            more: what the template needs besides.
        """
        if request.query_params.get("format") == "json":
            return json_response(data, status)
        text = self.text(request, template, data, **more)
        return tagged(request, text.encode("utf-8"), "text/html; charset=utf-8", status)

    def text(self, request: Request, template: str, data: Mapping[str, Any], **more: Any) -> str:
        """A page's HTML."""
        return self._templates.get_template(template).render(
            {
                **data,
                **more,
                "navigation": self._navigation,
                "path": request.url.path,
                "token": self._sessions.token(request),
                "exported": self._exported,
                "leaves": self._sessions.needs_key,
            }
        )


def json_response(data: Mapping[str, Any], status: int = 200) -> Response:
    """Facts as JSON, in ASCII: half characters, too."""
    text = json.dumps(plain(data), allow_nan=False, indent=1)
    return Response(text + "\n", status, media_type="application/json")


def tagged(request: Request, body: bytes, kind: str, status: int = 200) -> Response:
    """A response that a browser need not fetch again as long as it is the same."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if status == 200 and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return Response(body, status, media_type=kind, headers={"ETag": tag})


def drawn(svg: str) -> Markup:
    """A picture that our own charts have made, every value in it escaped."""
    return Markup(svg)


def _pairs(query: Mapping[str, Any] | Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [*(query.items() if isinstance(query, Mapping) else query)]


def _query(query: Mapping[str, Any] | Sequence[tuple[str, Any]]) -> str:
    """Names and values as an address has them."""
    return urlencode(_pairs(query), errors="replace")


def _shown(value: Any) -> Any:
    return visible(value) if type(value) is str else value


def _when(seconds: float) -> str:
    return "-" if not seconds else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
