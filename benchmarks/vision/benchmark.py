"""Prompts for images beside LoRA, full tuning and a linear probe: `make bench-vision`.

    python -m benchmarks.vision [--sets ... --contestants ... --epochs 1 --seeds 42 --side 84]

One encoder, four sets of images, and of each 1,000 examples. A contestant's rate is chosen among
three on 800 and 200 of them, what is chosen is trained on all, and the test, a sample, is answered
once (the protocol of VTAB-1k with few epochs and a grid of its own, see `RATES`). It can be stopped
and started again: finished cells are kept, and what is in training goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine, versions
from benchmarks.methods.score import Right, as_right, gain_interval, score_interval
from benchmarks.places import RESULTS
from benchmarks.vision.cells import CONTESTANTS, Contest, Plan
from benchmarks.vision.tables import BESIDE
from benchmarks.workers import run_cells, run_missing
from cuecard import load_backbone
from cuecard.catalogue import BACKBONES, DATASETS, backbone_folder
from cuecard.comparison.sealed_task import SealedTask
from cuecard.evaluation.report import plain, write_json
from cuecard.names import data_source
from cuecard.tasks import Task

OUT = RESULTS / "vision.json"
SETS = ("fashion-mnist", "cifar-10", "bloodmnist", "organamnist")
MODEL = "dinov2-small"


@dataclass(frozen=True)
class Cell:
    """A set and a contestant."""

    set: str
    contestant: str

    def file(self, folder: Path) -> Path:
        """Where its result goes."""
        name = self.contestant.replace(" ", "-")
        return folder / Path(self.set).name / f"{name}.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not there yet, then write the results."""
    given = _arguments(arguments)
    plan = Plan(
        given.model,
        given.side,
        given.examples,
        given.test_rows,
        given.epochs,
        given.batch_rows,
        tuple(given.seeds),
    )
    key = hashlib.sha256(json.dumps(asdict(plan)).encode()).hexdigest()[:10]
    folder = Path(given.folder) / key
    cells = [Cell(name, contestant) for name in given.sets for contestant in given.contestants]
    if not given.worker:
        print(f"{len(cells)} cells of {plan}; kept in {folder}", flush=True)
    return run_cells(
        "benchmarks.vision",
        given,
        arguments,
        cells,
        folder,
        lambda: work(cells, plan, folder, given.workers),
        lambda: summary(cells, plan, folder),
    )


def work(cells: Sequence[Cell], plan: Plan, folder: Path, workers: int = 1) -> None:
    """Run every cell that is not there, but for those another process has taken."""
    backbone = functools.cache(lambda: load_backbone(sized(plan, folder), device="cpu"))
    sealed = functools.lru_cache(1)(lambda name: read(name, plan))  # one set in memory

    def run(cell: Cell) -> str:
        place = cell.file(folder)
        room = place.with_suffix("")
        found = Contest(backbone(), sealed(cell.set), plan, room).run(cell.contestant)
        write_json(asdict(cell) | found, place)
        shutil.rmtree(room, ignore_errors=True)
        scores = ", ".join(f"{each.count('1') / len(each):.3f}" for each in found["right"])
        name = f"{Path(cell.set).name} {cell.contestant}"
        return f"{name}: {scores} in {found['cpu_s']:.0f} CPU-s"

    run_missing(cells, folder, run, lambda cell: 1.0, workers)


def read(name: str, plan: Plan) -> SealedTask:
    """A set's examples, and its test."""
    return SealedTask.of(
        Path(name).name,
        "",
        Task.from_file(data_source(name), kind="image-classification"),
        examples=plan.examples,
        selection_rows=plan.selection_rows,
        test_rows=plan.test_rows,
    )


def sized(plan: Plan, folder: Path) -> Path:
    """The encoder's folder, with images brought to so many pixels a side."""
    source = backbone_folder(plan.model) if plan.model in BACKBONES else Path(plan.model)
    copy = folder / f"encoder-{plan.side}"
    if not copy.is_dir():
        making = folder / f"encoder-{plan.side}-{os.getpid()}"
        shutil.copytree(source, making)
        settings = making / "preprocessor_config.json"
        changed = json.loads(settings.read_text())
        square = {"height": plan.side, "width": plan.side}
        changed |= {"size": square, "do_center_crop": False}
        changed.pop("crop_size", None)
        settings.write_text(json.dumps(changed))
        making.rename(copy)
    return copy


def summary(cells: Sequence[Cell], plan: Plan, folder: Path) -> dict[str, Any]:
    """Every cell's score with its interval, and its gain over what it is paired with."""
    found = {cell: json.loads(cell.file(folder).read_text()) for cell in cells}
    rows = []
    for cell, result in found.items():
        right = as_right(result["right"])
        row = {name: value for name, value in result.items() if name != "right"}
        row |= {"score": float(right.mean()), "ci95": score_interval(right)}
        for other in BESIDE:
            against = found.get(Cell(cell.set, other))
            if against is not None and cell.contestant != other:
                beside = as_right(against["right"])
                row[f"minus_{other}"] = float(right.mean() - beside.mean())
                row[f"minus_{other}_ci95"] = gain_interval(right, beside)
        rows.append(row)
    sets = {
        cell.set: {"license": DATASETS[cell.set].license} if cell.set in DATASETS else {}
        for cell in cells
    }
    about = {"plan": plan, "sets": sets, "machine": machine(), "versions": versions()}
    found_means = means({cell: as_right(result["right"]) for cell, result in found.items()})
    day = time.strftime("%Y-%m-%d")
    written: dict[str, Any] = plain({**about, "rows": rows, "means": found_means, "written": day})
    return written


def means(rights: Mapping[Cell, Right]) -> list[dict[str, Any]]:
    """Every contestant's mean over the sets, of as many rows each, and its paired gains."""
    sets = list(dict.fromkeys(cell.set for cell in rights))
    names = dict.fromkeys(cell.contestant for cell in rights)
    joined = {
        name: np.concatenate([rights[Cell(each, name)] for each in sets], axis=1) for name in names
    }
    found = []
    for name, right in joined.items():
        row: dict[str, Any] = {"contestant": name, "score": float(right.mean())}
        row["ci95"] = score_interval(right)
        for other in BESIDE:
            if other in joined and other != name:
                row[f"minus_{other}"] = float(right.mean() - joined[other].mean())
                row[f"minus_{other}_ci95"] = gain_interval(right, joined[other])
        found.append(row)
    return found


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.vision", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--model", default=MODEL, help="a catalogue's encoder, or a folder")
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="names or paths")
    parser.add_argument(
        "--contestants", nargs="+", default=list(CONTESTANTS), choices=list(CONTESTANTS)
    )
    parser.add_argument("--side", type=int, default=Plan.side, help="pixels that images get")
    parser.add_argument("--examples", type=int, default=Plan.examples)
    parser.add_argument("--test-rows", type=int, default=Plan.test_rows)
    parser.add_argument("--epochs", type=int, default=Plan.epochs)
    parser.add_argument("--batch-rows", type=int, default=Plan.batch_rows)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(Plan.seeds))
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", default="runs/bench-vision", help="where cells are kept")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)
