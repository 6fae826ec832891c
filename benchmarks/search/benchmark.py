"""Searches for prompts at an equal budget of calls, a soft prompt beside them: `make bench-search`.

    python -m benchmarks.search [--sets ... --searchers ... --seeds 13 21 --calls 1200]
    python -m benchmarks.search --folder 16-shot --tests data     # RLPrompt's sets, five seeds
    python -m benchmarks.search --tasks bbh/*.json --llm qwen2.5-coder-1.5b-instruct

16 training rows a label and as many for validation: the prompt as it was, every searcher that is
possible, the portfolio `auto` of most of them, and prompt tuning. With `--tasks` also the tasks of
BIG-Bench Hard or instruction induction, where an LLM writes. What is found is chosen on validation
rows; the test rows are answered once by each contestant and seed. It can be stopped and started
again: finished cells are kept, one that was cut off begins anew.

Without a folder, two sets of the catalogue and three seeds: 72 cells of 1,200 calls. Four sets of a
folder, five seeds and 600 calls take some 3 hours of one core (Zen 4), half of that with two: a
cell 2 (the start) to 90 CPU-s (demonstrations), and 5 to 20 more for its test rows.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import processor, versions
from benchmarks.places import RESULTS
from benchmarks.search.cells import AUTO, SOFT, START, Cell, Contest, Plan, contestants
from benchmarks.search.score import minus, paired, rights_by_set, scores
from benchmarks.search.sets import CATALOGUE, SEEDS, SHOT_SETS, Sizes
from benchmarks.workers import add_run_options, run_cells, run_missing, say_plan
from cuecard import load_backbone
from cuecard.evaluation.report import plain

OUT = RESULTS / "search.json"
BACKBONE = "smollm2-135m-instruct"
SOLVER, WRITER = "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct"
# CPU-seconds a call on Zen 4, for the first guess at the time left.
_COST = {"16-shot": 0.1, "tasks": 0.6}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not there yet, then write the results."""
    given = _arguments(arguments)
    cells = [cell for plan in _plans(given) for cell in _cells(plan, given)]
    folder = Path(given.cells)
    if not given.worker:
        about = f", of {cells[0].plan.calls:,} calls each."
        say_plan(cells, folder, about, _cost, given.workers)
    return run_cells(
        "benchmarks.search",
        given,
        arguments,
        cells,
        folder,
        lambda: work(cells, folder, given.workers),
        lambda: summary(cells, folder),
    )


def work(cells: Sequence[Cell], folder: Path, workers: int = 1) -> None:
    """Run every cell that is not there, but for those another process has taken."""
    loaded = functools.cache(lambda name: load_backbone(name, device="cpu"))

    def run(cell: Cell) -> str:
        plan = cell.plan
        writer = None if plan.llm is None else loaded(plan.llm)
        return _said(cell, Contest(loaded(plan.backbone), writer, cell, folder, _show).run(cell))

    def ready(cell: Cell) -> bool:
        return cell.contestant == START or replace(cell, contestant=START).file(folder).exists()

    run_missing(cells, folder, run, _cost, workers, ready)


def summary(cells: Sequence[Cell], folder: Path) -> dict[str, Any]:
    """Every cell, and per contestant its mean over sets and seeds beside the start and `auto`."""
    found = {cell: json.loads(cell.file(folder).read_text()) for cell in cells}
    plans = list(dict.fromkeys(cell.plan for cell in cells))
    about: dict[str, Any] = plain(
        {
            "plans": [_told(plan) for plan in plans],
            "machine": processor(),
            "versions": versions(),
            "rows": [row for plan in plans for row in _rows(plan, found)],
            "cells": list(found.values()),
        }
    )
    return about


def _told(plan: Plan) -> dict[str, Any]:
    """A plan without the places of this machine."""
    named = {"backbone": Path(plan.backbone).name, "llm": plan.llm and Path(plan.llm).name}
    told: dict[str, Any] = plain(plan) | named | {"places": [Path(p).name for p in plan.places]}
    del told["tests"]
    return told


def _rows(plan: Plan, found: Mapping[Cell, dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    own: dict[str, list[dict[str, Any]]] = {}
    for cell, result in found.items():
        if cell.plan == plan:
            own.setdefault(cell.contestant, []).append(result)
    rights = {name: rights_by_set(results) for name, results in own.items()}
    for name, results in own.items():
        row: dict[str, Any] = {"protocol": plan.protocol, "contestant": name}
        if not rights[name]:
            rows.append(row | {"unsupported": results[0]["unsupported"]})
            continue
        ran = [each for each in results if "test" in each]
        row |= {
            **scores(rights[name]),
            **{
                key: sum(each[key] for each in ran) / len(ran)
                for key in ("validation", "calls", "tokens", "cpu_s")
            },
        }
        for other in (START, AUTO):
            both = paired(rights[name], rights.get(other, {}))
            if name not in (START, other) and both:
                row |= minus("start" if other == START else other, both)
        rows.append(row)
    return rows


def _plans(given: argparse.Namespace) -> list[Plan]:
    steps = (given.population, given.step_rows)
    place = () if given.folder is None else (str(given.folder),)
    sizes = Sizes(given.shots, test=given.test_rows, tokens=given.max_length)
    models, calls = (given.backbone, given.llm), given.calls
    plans = [Plan("16-shot", *models, calls, *steps, place, given.tests, sizes)]
    if given.tasks:
        sizes = Sizes(given.shots, given.train_rows, given.test_rows, given.task_length)
        files = tuple(map(str, given.tasks))
        writer = given.llm or WRITER
        calls = given.task_calls or calls
        plans.append(Plan("tasks", given.solver, writer, calls, *steps, files, "", sizes))
    return [plan for plan in plans if plan.protocol == "tasks" or not given.tasks_only]


def _cells(plan: Plan, given: argparse.Namespace) -> list[Cell]:
    folder = plan.protocol == "16-shot" and given.folder is not None and given.folder.is_dir()
    own = given.sets or (SHOT_SETS if folder else CATALOGUE)
    seeds = given.seeds or (SEEDS if folder else SEEDS[:3])
    if plan.protocol == "tasks":
        seeds = given.task_seeds or seeds
    names = [Path(each).stem for each in plan.places] if plan.protocol == "tasks" else own
    chosen = contestants(llm=plan.llm is not None)
    if given.searchers:
        chosen = [START, *given.searchers]
    return [Cell(plan, name, seed, each) for name in names for seed in seeds for each in chosen]


def _show(event: dict[str, Any]) -> None:
    if event["event"] == "round" and sys.stderr.isatty():
        print(f"  {event['calls']} calls", end="\r", file=sys.stderr, flush=True)


def _cost(cell: Cell) -> float:
    share = 0.2 if cell.contestant == START else 2.0 if cell.contestant == SOFT else 1.0
    return _COST[cell.plan.protocol] * share * cell.plan.calls


def _said(cell: Cell, found: Mapping[str, Any]) -> str:
    told = found.get("unsupported")
    if told is None:
        told = (
            f"validation {found['validation']:.3f}, test {found['test']:.3f}, "
            f"{found['calls']:,} calls, {found['cpu_s']:.0f} CPU-s"
        )
    return f"{cell.set} {cell.seed} {cell.contestant}: {told}"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search", description=(__doc__ or "").split("\n\n")[0]
    )
    sizes = Sizes()
    parser.add_argument("--backbone", default=BACKBONE, help="of the sets of few shots")
    parser.add_argument("--folder", type=Path, help="where sets of few shots lie, or one file")
    parser.add_argument("--tests", default="", help="where their test rows lie, if elsewhere")
    parser.add_argument("--sets", nargs="+", help="by default sentiment and topic, or the folder's")
    parser.add_argument("--tasks", nargs="+", type=Path, default=[], help="tasks as JSON files")
    parser.add_argument("--tasks-only", action="store_true", help="no sets of few shots")
    parser.add_argument("--solver", default=SOLVER, help="backbone of the tasks")
    parser.add_argument("--llm", help="what writes; of the tasks by default a Qwen of 1.5B")
    parser.add_argument("--searchers", nargs="+", help="all that are possible by default")
    parser.add_argument("--seeds", nargs="+", type=int, help="three by default, a folder's five")
    parser.add_argument("--task-seeds", nargs="+", type=int, help="of tasks; by default the same")
    parser.add_argument("--calls", type=int, default=1200, help="the budget of each contestant")
    parser.add_argument("--task-calls", type=int, help="that of a task; by default the same")
    parser.add_argument("--population", type=int, default=8, help="of generations and steps")
    parser.add_argument("--step-rows", type=int, default=8, help="rows of a generation or step")
    parser.add_argument("--shots", type=int, default=sizes.shots)
    parser.add_argument("--train-rows", type=int, default=sizes.train, help="of a task")
    parser.add_argument("--test-rows", type=int, default=sizes.test)
    parser.add_argument("--max-length", type=int, default=sizes.tokens)
    parser.add_argument("--task-length", type=int, default=192)
    add_run_options(parser, "runs/bench-search", OUT)
    return parser.parse_args(arguments)
