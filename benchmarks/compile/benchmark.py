"""Texts compiled into prompts, and prompts ported to another model: `make bench-compile`.

    python -m benchmarks.compile [--texts policy --backbones smollm2-135m-instruct]
    python -m benchmarks.compile --into 8 16 32 64 --steps 200 --demonstrations 100
    python -m benchmarks.compile --folder FOLDER        # policy.md and questions.jsonl

Texts: solved examples of two classifications, and a policy of some 3,000 tokens with questions of
which those count that the model answers right with the policy in front, and GraphRAG's extraction
prompt. Each is compiled at every length, beside the full text, none of it, and the ways to shorten
it. Ports: prompts that were trained on labels, ported without any from each model to the other,
beside the old ones and beside prompts that were trained anew on labels. It can be stopped and
started again: finished cells are kept, one that was cut off goes on from its checkpoints.

By its own guess some 100 minutes on two cores, four fifths of it Qwen's; `--backbones` and
`--texts` take less.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.compile.cells import Cell, run_cell
from benchmarks.compile.compiled import CompiledCell
from benchmarks.compile.plan import Plan
from benchmarks.compile.ports import PortedCell, TrainedCell
from benchmarks.compile.texts import TEXTS, TextSizes
from benchmarks.machine import processor, versions
from benchmarks.methods.sets import SETS, Rows
from benchmarks.places import RESULTS
from benchmarks.workers import add_run_options, run_cells, run_missing, say_plan, show_step
from cuecard import load_backbone
from cuecard.evaluation.report import plain

OUT = RESULTS / "compile.json"
BACKBONES = ("smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct")
# CPU-seconds of SmolLM2 on Zen 4 for the first guess: a step of 8 rows, an answer of a row, and
# the answers that a length is compared by, in rows.
_STEP, _ANSWER, _WAYS = 1.2, 0.1, 6
_LARGER = {"qwen2.5-coder-0.5b-instruct": 3.5}
# Times as long an answer of a row takes that is a text.
_WRITTEN = {"policy": 3.0, "extraction": 20.0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not there yet, then write the results."""
    given = _arguments(arguments)
    plan = _plan(given)
    cells = _cells(plan, given)
    folder = Path(given.cells)
    if not given.worker:
        lengths = ", ".join(map(str, plan.into))
        about = f": into {lengths} positions, {plan.steps} steps of {plan.batch} rows."
        say_plan(cells, folder, about, _cost, given.workers)
    return run_cells(
        "benchmarks.compile",
        given,
        arguments,
        cells,
        folder,
        lambda: work(cells, folder, given.workers),
        lambda: summary(plan, cells, folder),
    )


def work(cells: Sequence[Cell], folder: Path, workers: int = 1) -> None:
    """Run every cell that is not there, but for those another process has taken."""
    load = functools.cache(lambda name: load_backbone(name, device="cpu"))

    def run(cell: Cell) -> str:
        found = run_cell(cell, load, folder, show_step)
        return f"{cell.file(folder).relative_to(folder)}: {found['spent_s']:.0f} CPU-s"

    def ready(cell: Cell) -> bool:
        return all(other.file(folder).exists() for other in cell.needs)

    run_missing(cells, folder, run, _cost, workers, ready)


def summary(plan: Plan, cells: Sequence[Cell], folder: Path) -> dict[str, Any]:
    """Every compiled text, and every port."""

    def told(kind: type[Cell]) -> list[dict[str, Any]]:
        some = [cell for cell in cells if isinstance(cell, kind)]
        return [json.loads(cell.file(folder).read_text()) for cell in some]

    about: dict[str, Any] = plain(
        {
            "plan": plain(plan) | {"folder": Path(plan.folder).name, "data": Path(plan.data).name},
            "machine": processor(),
            "versions": versions(),
            "compiled": told(CompiledCell),
            "trained": told(TrainedCell),
            "ported": told(PortedCell),
        }
    )
    return about


def _plan(given: argparse.Namespace) -> Plan:
    sizes = TextSizes(
        given.demonstrations, given.inputs, given.tests, given.max_length, given.subjects
    )
    return Plan(
        given.steps,
        given.batch,
        tuple(sorted(given.into)),
        given.length,
        given.unlabelled,
        sizes,
        Rows(given.train_rows, given.validation_rows, given.tests, given.max_length),
        given.folder,
        given.data,
    )


def _cells(plan: Plan, given: argparse.Namespace) -> list[Cell]:
    compiled = [
        CompiledCell(plan, backbone, text) for backbone in given.backbones for text in given.texts
    ]
    if not given.sets or len(given.backbones) < 2:
        return [*compiled]
    trained = [TrainedCell(plan, name, one) for name in given.backbones for one in given.sets]
    ported = [
        PortedCell(plan, old, new, tuple(given.sets))
        for old, new in itertools.permutations(given.backbones, 2)
    ]
    return [*compiled, *trained, *ported]


def _cost(cell: Cell) -> float:
    """Of a cell in CPU-seconds, before it is known."""
    plan = cell.plan
    steps = plan.steps * _STEP
    if isinstance(cell, CompiledCell):
        held_out = plan.sizes.inputs // 10 + plan.sizes.tests
        answer = _ANSWER * _WRITTEN.get(cell.text, 1.0)
        each = len(plan.into) * (steps + _WAYS * held_out * answer)
        spent = each + (plan.sizes.inputs + 2 * held_out) * answer
        return _LARGER.get(cell.backbone, 1.0) * spent
    if isinstance(cell, TrainedCell):
        return _LARGER.get(cell.backbone, 1.0) * (steps + plan.rows.test * _ANSWER)
    new, old = (_LARGER.get(name, 1.0) for name in (cell.new, cell.old))
    asked = (plan.unlabelled + plan.rows.test) * _ANSWER
    return len(cell.sets) * (new * (steps + plan.rows.test * _ANSWER) + old * asked)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compile", description=(__doc__ or "").split("\n\n")[0]
    )
    sizes = TextSizes()
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--texts", nargs="*", default=list(TEXTS), choices=TEXTS)
    parser.add_argument("--sets", nargs="*", default=["sentiment", "topic", "intent"], choices=SETS)
    parser.add_argument("--into", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--length", type=int, default=16, help="of the prompts that are ported")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--batch", type=int, default=8, help="rows of a step")
    parser.add_argument("--demonstrations", type=int, default=sizes.demonstrations)
    parser.add_argument("--inputs", type=int, default=sizes.inputs, help="to compile from")
    parser.add_argument("--unlabelled", type=int, default=400, help="inputs to port from")
    parser.add_argument("--tests", type=int, default=sizes.tests, help="labelled rows at most")
    parser.add_argument("--subjects", type=int, default=sizes.subjects, help="of the made policy")
    parser.add_argument("--train-rows", type=int, default=240, help="with labels, of a prompt")
    parser.add_argument("--validation-rows", type=int, default=64)
    parser.add_argument("--max-length", type=int, default=sizes.tokens, help="tokens of a row")
    parser.add_argument("--folder", default="", help="with policy.md and questions.jsonl")
    parser.add_argument("--data", default="", help="a file instead of each set's own source")
    add_run_options(parser, "runs/bench-compile", OUT)
    return parser.parse_args(arguments)
