"""A registry: versions, aliases and their history; promote and roll back."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse

from cuecard.board.guard import Posted, Sessions
from cuecard.board.missing import MissingError
from cuecard.board.records.files import number
from cuecard.board.view import Pages
from cuecard.errors import ConfigError, CuecardError
from cuecard.registry import AliasEvent, PromotionChecks, Registry, Version
from cuecard.registry.records.aliases import alias_names
from cuecard.registry.records.references import Reference, check_name
from cuecard.registry.signing import signers
from cuecard.settings import flat

_MOST_WHY = 500
_NUMBER = re.compile(r"[0-9]{1,8}")
Change = Callable[[Registry, str, FormData], None]


@dataclass(frozen=True)
class RegistryPage:
    """`/registry` and `/registry/NAME`.

    Attributes:
        place: the registry's folder or URL.
    """

    pages: Pages
    place: str
    sessions: Sessions

    def add_to(self, app: FastAPI) -> None:
        """Add the routes."""

        @app.get("/registry")
        def registry(request: Request) -> Response:
            return self.pages.show(request, "registry.html", self._names())

        @app.get("/registry/{name}")
        def prompt(request: Request, name: str) -> Response:
            return self._show(request, name)

        @app.post("/registry/{name}/promote")
        def promote(request: Request, name: str, form: Posted) -> Response:
            return self._change(request, form, name, self._promote)

        @app.post("/registry/{name}/rollback")
        def rollback(request: Request, name: str, form: Posted) -> Response:
            return self._change(request, form, name, self._rollback)

    def _open(self, request: Request) -> Registry:
        return Registry(self.place, who=self.sessions.who(request))

    def _names(self) -> dict[str, Any]:
        try:
            opened = Registry(self.place)
            prompts = [_line(opened, name) for name in opened.names()]
        except CuecardError as error:
            return {"place": self.place, "prompts": [], "error": error.to_dict()}
        return {"place": self.place, "prompts": prompts, "error": None}

    def _show(self, request: Request, name: str, error: CuecardError | None = None) -> Response:
        opened = self._open(request)
        versions = opened.versions(check_name(name))
        if not versions:
            raise MissingError("there is no such prompt", where=self.place, got=name)
        logs = {alias: opened.log(name, alias) for alias in alias_names(opened.store, name)}
        # As `Registry.aliases` has them, without reading the last events again.
        aliases = {alias: log[-1].after for alias, log in logs.items() if log and log[-1].after}
        data = {
            "name": name,
            "place": self.place,
            "versions": [
                _version(version, aliases, _signatures(opened, version))
                for version in reversed(versions)
            ],
            "aliases": aliases,
            "log": {alias: [_event(e) for e in reversed(log)] for alias, log in logs.items()},
            "error": None if error is None else error.to_dict(),
        }
        return self.pages.show(request, "prompt.html", data, status=400 if error else 200)

    def _change(self, request: Request, form: FormData, name: str, change: Change) -> Response:
        self.sessions.must_be_ours(request, form)
        try:
            change(self._open(request), name, form)
        except CuecardError as error:
            return self._show(request, name, error)
        return RedirectResponse(f"/registry/{name}", 303)

    def _promote(self, registry: Registry, name: str, form: FormData) -> None:
        typed = _text(form, "version")
        if not _NUMBER.fullmatch(typed):
            raise ConfigError("not a version's number", where="version", got=typed)
        minimum = _minimum(_text(form, "metric"), _text(form, "least"))
        version = registry.resolve(Reference(name, int(typed)))
        checks = PromotionChecks(registry, minimum)
        registry.promote(version, _text(form, "alias"), why=_why(form), check=checks)

    def _rollback(self, registry: Registry, name: str, form: FormData) -> None:
        registry.rollback(name, _text(form, "alias"), why=_why(form))


def _line(registry: Registry, name: str) -> dict[str, Any]:
    """A prompt of the list: its newest version, and where its aliases are."""
    live = [version for version in registry.versions(name) if not version.deleted]
    newest = None if not live else _version(live[-1], {}, "")
    return {"name": name, "versions": len(live), "newest": newest} | {
        "aliases": registry.aliases(name)
    }


def _signatures(registry: Registry, version: Version) -> str:
    """How many valid signatures a version has."""
    try:
        return f"{len(signers(registry.store, version)) or 'none'}"
    except CuecardError as error:
        return error.what


def _version(version: Version, aliases: dict[str, int], signed: str) -> dict[str, Any]:
    record = version.record
    numbers = {key: number(value) for key, value in flat(record.metrics)}
    return {
        "number": version.number,
        "deleted": version.deleted,
        "aliases": [alias for alias, number in aliases.items() if number == version.number],
        "method": record.method,
        "kind": record.kind,
        "backbone": record.backbone.name,
        "bytes": sum(entry.size for entry in record.files.values()),
        "metrics": {key: value for key, value in numbers.items() if value is not None},
        "signed": signed,
        "at": record.at,
        "by": record.by,
        "why": record.why,
        "digest": record.digest,
    }


def _event(event: AliasEvent) -> dict[str, Any]:
    return event.model_dump(mode="json", by_alias=True, exclude={"schema_version", "id"})


def _minimum(metric: str, least: str) -> dict[str, float]:
    """What the promotion asks for; nothing where neither was filled in."""
    if not metric and not least:
        return {}
    try:
        value = float(least)
    except ValueError:
        value = math.nan
    if not metric or not math.isfinite(value):
        raise ConfigError(
            "a check needs a metric and a number",
            where="minimum",
            got=f"{metric}={least}",
            expected="such as accuracy and 0.85",
        )
    return {metric: value}


def _why(form: FormData) -> str:
    why = _text(form, "why")
    if not why or len(why) > _MOST_WHY:
        raise ConfigError(
            "a reason is needed; the record keeps it",
            where="why",
            got=f"{len(why)} characters",
            expected=f"1 to {_MOST_WHY}",
        )
    return why


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""
