"""Finished runs as they are read for a table of several."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from cuecard.comparison.reports import FILE, read_report
from cuecard.comparison.runs_table import TabledRun
from cuecard.errors import DataError
from cuecard.runs.recipe_file import read_yaml
from cuecard.runs.run_kinds import KINDS

# Of a recipe: what changes no score, and what is compared.
_FREE = ("out", "report_to")


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
    return TabledRun(folder, proof, _recipe(place))


def _recipe(folder: Path) -> dict[str, Any]:
    file = next((folder / kind.file for kind in KINDS if (folder / kind.file).is_file()), None)
    if file is None:
        return {}
    found = deepcopy(read_yaml(file, ()))
    for name in _FREE:
        found.pop(name, None)
    if isinstance(found.get("training"), dict):
        for name in ("seed", "checkpoint_every"):
            found["training"].pop(name, None)
    return found
