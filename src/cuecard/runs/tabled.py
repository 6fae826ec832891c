"""Finished runs as they are read for a table of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cuecard.comparison.reports import FILE, read_report
from cuecard.comparison.runs_table import TabledRun
from cuecard.errors import DataError
from cuecard.runs.folder import is_free
from cuecard.runs.recipe_file import read_yaml
from cuecard.runs.run_kinds import RUN
from cuecard.settings import flat

# What two sittings of a run need not share, but for what changes its answers to the test rows.
_FREE = (RUN.free | {"training.seed"}) - {"task.max_new_tokens"}


def read_tabled(folders: Sequence[Path]) -> list[TabledRun]:
    """Each run's report and recipe.

    Raises:
        DataError: a folder without a finished run that was tested.
        ConfigError: a recipe that cannot be read.
    """
    return [_read(folder) for folder in folders]


def _read(folder: Path) -> TabledRun:
    # A sweep and a transfer keep the run that they chose.
    place = folder if (folder / FILE).is_file() else folder / "best"
    proof = read_report(place)
    if proof is None or not proof.rows or "seed" not in proof.report:
        raise DataError(
            "no finished run with tested rows",
            where=str(folder),
            got="no report" if proof is None else "a report without a table",
            expected=f"a run's folder with its {FILE}",
        )
    return TabledRun(folder, proof, _recipe(place / RUN.file))


def _recipe(file: Path) -> dict[str, Any]:
    """The settings, by their dotted names, that runs of one recipe share."""
    if not file.is_file():
        return {}
    settings = flat(read_yaml(file, ()))
    return {name: value for name, value in settings if not is_free(name, _FREE)}
