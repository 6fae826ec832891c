"""A form that starts a training, and says which command line does the same."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse

from cuecard.board.guard import Posted, Sessions
from cuecard.board.jobs import Job, Jobs
from cuecard.board.records.form import MAIN, FormField, filled_in, form_fields
from cuecard.board.records.index import RunIndex
from cuecard.board.records.preview import data_files
from cuecard.board.view import Pages
from cuecard.errors import ConfigError, CuecardError
from cuecard.plain_files import is_file_name
from cuecard.runs.folder import RunFolder
from cuecard.runs.recipe import Recipe
from cuecard.runs.recipe_command import command_of
from cuecard.runs.run_kinds import RUN


@dataclass(frozen=True)
class NewPage:
    """`/new`, and `/jobs/ID` for what was started there.

    Attributes:
        flags: the recipe's keys -> the flags of `cuecard train`: the form's fields.
    """

    pages: Pages
    index: RunIndex
    jobs: Jobs
    sessions: Sessions
    flags: Mapping[str, str]

    def add_to(self, app: FastAPI) -> None:
        """Add the routes."""

        @app.get("/new")
        def new(request: Request) -> Response:
            return self._show(request, _texts(request.query_params.multi_items()))

        @app.get("/new/command")
        def command(request: Request) -> Response:
            facts = self._plan(_texts(request.query_params.multi_items()))
            return self.pages.show(request, "command.html", facts)

        @app.post("/new")
        def start(request: Request, form: Posted) -> Response:
            self.sessions.must_be_ours(request, form)
            given = _texts(_items(form))
            try:
                job = self._start(given)
            except CuecardError as error:
                return self._show(request, given, error)
            return RedirectResponse(f"/jobs/{job.id}", 303)

        @app.get("/jobs/{name}")
        def job(request: Request, name: str) -> Response:
            return self.pages.show(request, "job.html", self._told(self.jobs.find(name)))

        @app.get("/jobs/{name}/live")
        def live(request: Request, name: str) -> Response:
            return self.pages.show(request, "job_live.html", self._told(self.jobs.find(name)))

        @app.post("/jobs/{name}/stop")
        def stop(request: Request, name: str, form: Posted) -> Response:
            self.sessions.must_be_ours(request, form)
            return RedirectResponse(f"/jobs/{self.jobs.stop(name).id}", 303)

    def _show(
        self, request: Request, given: dict[str, str], error: CuecardError | None = None
    ) -> Response:
        facts = self._plan(given)
        if error is not None:
            facts["error"] = error.to_dict()
        wrong = facts["error"] is not None
        fields = form_fields(key for key in self.flags if key != "out")
        return self.pages.show(
            request,
            "new.html",
            facts | {"given": given, "files": data_files(Path())},
            status=400 if wrong and given else 200,
            main=[field for key in MAIN for field in fields if field.key == key],
            parts=_parts([field for field in fields if field.key not in MAIN]),
            jobs=self.jobs.all(),
        )

    def _plan(self, given: Mapping[str, str]) -> dict[str, Any]:
        """The command line and the recipe of what was filled in, or what is wrong with it."""
        if not any(text.strip() for text in given.values()):
            return {"command": "", "yaml": "", "error": None}
        try:
            recipe = self._recipe(given)
        except CuecardError as error:
            return {"command": "", "yaml": "", "error": error.to_dict()}
        return {"command": self._command(recipe), "yaml": recipe.to_yaml(), "error": None}

    def _recipe(self, given: Mapping[str, str]) -> Recipe:
        texts = dict(given)
        name = texts.pop("name", "").strip()
        if name and not is_file_name(name):
            raise ConfigError(
                "a run's name is one folder's", where="name", got=name, expected="no path"
            )
        values = filled_in(texts, self.flags)
        recipe = Recipe.parse(values, "the form")
        return recipe.in_folder(self.index.root / (name or recipe.folder.name))

    def _command(self, recipe: Recipe) -> str:
        return command_of(recipe.model_dump(mode="json"), self.flags, RUN.command)

    def _start(self, given: Mapping[str, str]) -> Job:
        recipe = self._recipe(given)
        RunFolder.of(recipe).check(recipe)
        return self.jobs.start(shlex.split(self._command(recipe))[1:], recipe.folder)

    def _told(self, job: Job) -> dict[str, Any]:
        folder = job.folder.resolve()
        place = next((p for p in self.index.runs() if p.folder.resolve() == folder), None)
        return {
            "job": {"id": job.id, "command": job.command, "state": job.state},
            "output": job.told(),
            "run": None if place is None else {"slug": place.slug, "name": place.name},
        }


def _texts(items: Sequence[tuple[str, str]]) -> dict[str, str]:
    return {key: text for key, text in items if key not in ("token", "format")}


def _items(form: FormData) -> list[tuple[str, str]]:
    return [(key, value) for key, value in form.multi_items() if isinstance(value, str)]


def _parts(fields: Sequence[FormField]) -> dict[str, list[FormField]]:
    """The fields by the part of the form that they stand in."""
    titles = dict.fromkeys(field.title for field in fields)
    return {title: [field for field in fields if field.title == title] for title in titles}
