"""The benchmark's cells, each with a result of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.compile.compiled import CompiledCell
from benchmarks.compile.plan import Load
from benchmarks.compile.ports import PortedCell, TrainedCell
from cuecard.evaluation.report import plain, write_json
from cuecard.training.storage.log import Observer

Cell: TypeAlias = CompiledCell | TrainedCell | PortedCell


def run_cell(cell: Cell, load: Load, folder: Path, tell: Observer) -> dict[str, Any]:
    """A cell's result, written to its file."""
    began = time.process_time()
    backbone = cell.new if isinstance(cell, PortedCell) else cell.backbone
    found = {"backbone": Path(backbone).name, **cell.run(load, folder, tell)}
    found["spent_s"] = time.process_time() - began
    write_json(plain(found), cell.file(folder))
    return found
