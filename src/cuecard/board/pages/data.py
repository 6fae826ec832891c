"""A data set before anything is trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response

from cuecard.board.records.form import PREVIEWED, filled_in, form_fields
from cuecard.board.records.preview import ROWS, Preview, check_place, data_files, preview
from cuecard.board.records.thumbnails import Thumbnails
from cuecard.board.view import Pages, drawn
from cuecard.errors import CuecardError
from cuecard.evaluation.charts.shares import bar

_FILES = ("path", "validation", "test")


@dataclass(frozen=True)
class DataPage:
    """`/data`: a file's rows as a training would see them.

    Attributes:
        folder: the working directory: files below it may be looked at.
    """

    pages: Pages
    folder: Path
    thumbnails: Thumbnails

    def add_to(self, app: FastAPI) -> None:
        """Add the route."""

        @app.get("/data")
        def data(request: Request) -> Response:
            given = {k: v for k, v in request.query_params.items() if k != "format"}
            found, error = None, None
            try:
                values = filled_in(given, PREVIEWED)
                files = values.get("data", {})
                if "path" in files:
                    for name in (name for name in _FILES if name in files):
                        check_place(f"data.{name}", files[name], self.folder)
                    found, task = preview(values)
                    self.thumbnails.add(i for record in task.train[:ROWS] for i in record.images)
            except CuecardError as problem:
                error = problem.to_dict()
            facts = {
                "folder": str(self.folder.resolve()),
                "files": data_files(self.folder),
                "given": given,
                "preview": found,
                "error": error,
            }
            return self.pages.show(
                request,
                "data.html",
                facts,
                status=200 if error is None else 400,
                fields=form_fields(PREVIEWED),
                bars={} if found is None else _bars(found),
            )


def _bars(found: Preview) -> dict[str, Any]:
    """Pictures of label and length counts, against the largest."""
    most = max((sum(counts.values()) for counts in found.labels.values()), default=1) or 1
    longest = max((rows for _, _, rows in found.lengths), default=1) or 1
    return {
        "labels": {
            label: drawn(bar(sum(counts.values()) / most, f"{sum(counts.values()):,} rows"))
            for label, counts in found.labels.items()
        },
        "lengths": [drawn(bar(rows / longest, f"{rows:,} rows")) for _, _, rows in found.lengths],
    }
