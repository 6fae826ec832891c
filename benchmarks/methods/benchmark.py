"""Every method beside the hand-written prompt, LoRA and full tuning: `make bench-methods`.

    python -m benchmarks.methods [--models ... --sets ... --methods ... --seeds 1 --steps 120]

Two models, four sets, and on each the majority class, the best prompt written by hand, every soft
method, LoRA and full tuning, from the same training rows per seed. Everything is chosen on
validation rows; the test rows are seen once by each trained seed. It can be stopped and started
again: finished cells are kept, a method in training goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, versions
from benchmarks.methods.cells import Cell, Contest, Plan, contestants
from benchmarks.methods.score import as_right, gain_interval, score_interval
from benchmarks.methods.sets import SETS, Rows
from benchmarks.places import RESULTS
from benchmarks.workers import run_cells, run_missing, say_plan, show_step
from cuecard import load_backbone
from cuecard.evaluation.report import plain

OUT = RESULTS / "methods.json"
MODELS = ("smollm2-135m-instruct", "flan-t5-small")
# CPU-seconds of a soft method's cell on Zen 4, for the first guess at the time left.
_COST = {"smollm2-135m-instruct": 190.0, "flan-t5-small": 60.0}
_SHARE = {"majority": 0.01, "by hand": 0.8, "lora": 1.2, "full": 1.7}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not there yet, then write the results."""
    given = _arguments(arguments)
    rows = Rows(given.train_rows, given.validation_rows, given.test_rows, given.max_length)
    plan = Plan(given.seeds, given.steps, given.rate, rows, given.data)
    folder = Path(given.folder) / plan.key
    cells = [
        Cell(model, name, contestant)
        for model in given.models
        for name in given.sets
        for contestant in contestants(given.methods)
    ]
    if not given.worker:
        _say_plan(plan, cells, folder, given.workers)
    return run_cells(
        "benchmarks.methods",
        given,
        arguments,
        cells,
        folder,
        lambda: work(cells, plan, folder, given.workers),
        lambda: summary(cells, plan, folder),
    )


def work(cells: Sequence[Cell], plan: Plan, folder: Path, workers: int = 1) -> None:
    """Run every cell that is not there, but for those another process has taken."""
    backbone: Any = None
    model, name = "", ""
    contest: Contest | None = None

    def run(cell: Cell) -> str:
        nonlocal backbone, model, name, contest
        if cell.model != model:
            backbone, model, name = load_backbone(cell.model, device="cpu"), cell.model, ""
        if cell.set != name or contest is None:
            contest = Contest(backbone, SETS[cell.set], plan, folder, show_step)
            name = cell.set
        found = contest.run(cell)
        scores = ", ".join(f"{seed['score']:.3f}" for seed in found.get("seeds", ()))
        told = scores or found.get("unsupported")
        return f"{Path(cell.model).name} {cell.set} {cell.contestant}: {told}"

    run_missing(cells, folder, run, _cost, workers, lambda cell: _ready(cell, folder))


def summary(cells: Sequence[Cell], plan: Plan, folder: Path) -> dict[str, Any]:
    """Every cell's score with its interval, and its gain over the baselines it is paired with."""
    found = {cell: json.loads(cell.file(folder).read_text()) for cell in cells}
    rows = []
    for cell, result in found.items():
        row: dict[str, Any] = {"model": cell.model, "set": cell.set, "contestant": cell.contestant}
        if "unsupported" in result:
            rows.append(row | {"unsupported": result["unsupported"]})
            continue
        right = _right(result)
        row |= {
            "score": float(right.mean()),
            "ci95": score_interval(right),
            "seeds": [seed["score"] for seed in result["seeds"]],
            "validation": [seed.get("validation_accuracy") for seed in result["seeds"]],
            "parameters": result["parameters"],
            "bytes": result["bytes"],
            "cpu_s": [seed.get("train_cpu_s", 0.0) for seed in result["seeds"]],
        }
        row |= {
            key: result[key]
            for key in ("name", "variant", "start", "lr", "settings")
            if key in result
        }
        for other in ("by hand", "lora"):
            against = found.get(Cell(cell.model, cell.set, other))
            if against is not None and cell.contestant not in (other, "majority"):
                beside = _right(against)
                key = f"minus_{other.replace(' ', '_')}"
                row[key] = float(right.mean() - beside.mean())
                row[f"{key}_ci95"] = gain_interval(right, beside)
        rows.append(row)
    about: dict[str, Any] = plain(
        {
            "plan": plan,
            "sets": {
                name: {"source": SETS[name].source, "license": SETS[name].license}
                for name in dict.fromkeys(cell.set for cell in cells)
            },
            "machine": machine(),
            "versions": versions(),
            "rows": rows,
        }
    )
    return about


def _right(result: dict[str, Any]) -> Any:
    return as_right([seed["right"] for seed in result["seeds"]])


def _ready(cell: Cell, folder: Path) -> bool:
    """Whether what it begins with is there."""
    hand = replace(cell, contestant="by hand")
    return cell.contestant in ("majority", "by hand") or hand.file(folder).exists()


def _cost(cell: Cell) -> float:
    return _COST.get(cell.model, 1.0) * _SHARE.get(cell.contestant, 1.0)


def _say_plan(plan: Plan, cells: Sequence[Cell], folder: Path, workers: int) -> None:
    rows = plan.rows
    about = (
        f": {plan.seeds} seeds, {plan.steps} steps of {plan.config.batch_rows} rows, "
        f"{rows.train} training, {rows.validation} validation and {rows.test} test rows of "
        f"{rows.tokens} tokens at most."
    )
    say_plan(cells, folder, about, _cost, workers)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.methods", description=(__doc__ or "").split("\n\n")[0]
    )
    rows = Rows()
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--methods", nargs="+", help="soft methods; all by default")
    parser.add_argument("--seeds", type=int, default=Plan.seeds)
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--rate", type=float, default=Plan.rate, help="of the default rate")
    parser.add_argument("--train-rows", type=int, default=rows.train)
    parser.add_argument("--validation-rows", type=int, default=rows.validation)
    parser.add_argument("--test-rows", type=int, default=rows.test)
    parser.add_argument("--max-length", type=int, default=rows.tokens)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--data", help="a file instead of every set's own rows")
    parser.add_argument("--folder", default="runs/bench-methods", help="where cells are kept")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)
