"""Prompts of other tasks at 16, 64 and 256 examples: `make bench-multitask`.

    python -m benchmarks.multitask [--targets ... --examples 16 64 --seeds 13 21 87 --steps 100]

Twelve source tasks of sae-probes have a prompt each, and one that they share (MPT, taught by the
others). Six tasks that are not among them then learn from few examples: a prompt by itself from
the vocabulary, one from the source prompt that does best untrained (SPoT), one from what the
sources share (MPT), and a mix of the sources' prompts by attention (ATTEMPT), all with the same
rows, steps and batches, each at its method's own rates. Validation rows choose the step, test rows
are answered once. It can be stopped and started again: finished cells are kept, one that was cut
off begins anew.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import processor, versions
from benchmarks.multitask.cells import ALONE, CONTESTANTS, SHARED, SOURCE, Cell, Plan
from benchmarks.multitask.sets import SOURCES, TARGETS, Rows
from benchmarks.places import RESULTS
from benchmarks.search.score import minus, paired, rights_by_set, scores
from benchmarks.workers import add_run_options, run_cells, run_missing, say_plan
from cuecard import load_backbone
from cuecard.evaluation.report import plain

OUT = RESULTS / "multitask.json"
EXAMPLES, SEEDS = (16, 64, 256), (13, 21)
# CPU-seconds on Zen 4 with the sizes by default: of a source, what all share, a target's run.
_COST = {SOURCE: 60.0, SHARED: 1000.0}
_RUN = 36.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not there yet, then write the results."""
    given = _arguments(arguments)
    plan = _plan(given)
    shared = [Cell(plan, SOURCE, name) for name in plan.sources] + [Cell(plan, SHARED)]
    runs = [
        Cell(plan, contestant, name, examples, seed)
        for seed in given.seeds
        for contestant in given.contestants
        for examples in given.examples
        for name in given.targets
    ]
    cells, folder = [*shared, *runs], Path(given.cells)
    if not given.worker:
        say_plan(cells, folder, ", their time guessed for the default sizes.", _cost, given.workers)
    return run_cells(
        "benchmarks.multitask",
        given,
        arguments,
        cells,
        folder,
        lambda: work(cells, folder, given.workers),
        lambda: summary(plan, cells, folder),
    )


def work(cells: Sequence[Cell], folder: Path, workers: int = 1) -> None:
    """Run every cell that is not there, but for those another process has taken."""
    backbone = load_backbone(cells[0].plan.backbone, device="cpu")

    def run(cell: Cell) -> str:
        found = cell.run(backbone, folder)
        scored = f", test {found['test']:.3f}" if "test" in found else ""
        own = [cell.set, cell.examples, cell.seed, cell.contestant]
        what = " ".join(str(part) for part in own if part)
        return f"{what}: {found['cpu_s']:.0f} CPU-s{scored}"

    run_missing(cells, folder, run, _cost, workers, lambda cell: cell.ready(folder))


def summary(plan: Plan, cells: Sequence[Cell], folder: Path) -> dict[str, Any]:
    """Every cell, and per contestant and number of examples its mean over targets and seeds."""
    found = {cell: json.loads(cell.file(folder).read_text()) for cell in cells}
    told: dict[str, Any] = plain(plan) | {"backbone": Path(plan.backbone).name}
    del told["package"]
    about: dict[str, Any] = plain(
        {
            "plan": told,
            "machine": processor(),
            "versions": versions(),
            "rows": _rows(found),
            "cells": list(found.values()),
        }
    )
    return about


def _rows(found: Mapping[Cell, dict[str, Any]]) -> list[dict[str, Any]]:
    results: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for cell, result in found.items():
        if cell.examples:
            results.setdefault((cell.contestant, cell.examples), []).append(result)
    rights = {key: rights_by_set(own) for key, own in results.items()}
    rows = []
    for (contestant, examples), own in results.items():
        row: dict[str, Any] = {
            "contestant": contestant,
            "examples": examples,
            **scores(rights[contestant, examples]),
            **{key: sum(one[key] for one in own) / len(own) for key in ("trained", "cpu_s")},
        }
        if contestant != ALONE:
            both = paired(rights[contestant, examples], rights[ALONE, examples])
            row |= minus("alone", both)
        rows.append(row)
    return rows


def _cost(cell: Cell) -> float:
    return _COST.get(cell.contestant, _RUN)


def _plan(given: argparse.Namespace) -> Plan:
    return Plan(
        given.backbone,
        length=given.length,
        source_steps=given.source_steps,
        steps=given.steps,
        batch_rows=given.batch_rows,
        sources=tuple(given.sources),
        package=given.package,
        rows=Rows(
            given.source_rows,
            given.validation_rows,
            given.source_test_rows,
            given.test_rows,
            given.max_length,
        ),
    )


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.multitask", description=(__doc__ or "").split("\n\n")[0]
    )
    rows, plan = Rows(), Plan("smollm2-135m-instruct")
    sources, targets = ([one.name for one in sets] for sets in (SOURCES, TARGETS))
    parser.add_argument("--backbone", default=plan.backbone)
    parser.add_argument("--package", default="", help="the wheel of sae-probes; fetched by default")
    parser.add_argument("--sources", nargs="+", choices=sources, default=sources)
    parser.add_argument("--targets", nargs="+", choices=targets, default=targets)
    parser.add_argument(
        "--contestants", nargs="+", choices=CONTESTANTS, default=[*CONTESTANTS], help="on targets"
    )
    parser.add_argument("--examples", nargs="+", type=int, default=[*EXAMPLES])
    parser.add_argument("--seeds", nargs="+", type=int, default=[*SEEDS], help="of targets")
    parser.add_argument("--length", type=int, default=plan.length)
    parser.add_argument("--source-steps", type=int, default=plan.source_steps)
    parser.add_argument("--steps", type=int, default=plan.steps, help="of a target's run")
    parser.add_argument("--batch-rows", type=int, default=plan.batch_rows)
    parser.add_argument("--source-rows", type=int, default=rows.source)
    parser.add_argument("--validation-rows", type=int, default=rows.validation, help="at most")
    parser.add_argument("--source-test-rows", type=int, default=rows.source_test)
    parser.add_argument("--test-rows", type=int, default=rows.test)
    parser.add_argument("--max-length", type=int, default=rows.tokens)
    add_run_options(parser, "runs/bench-multitask", OUT)
    return parser.parse_args(arguments)
