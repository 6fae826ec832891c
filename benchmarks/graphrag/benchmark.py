"""Extraction prompts on gold: generic, tuned, searched for and trained ones: `make bench-graphrag`.

    python -m benchmarks.graphrag --corpora FOLDER [--models ... --sets ... --contestants ...]

CoNLL04 and SciERC, two small models in this process, each of which tunes, searches and extracts
itself. Entities and relations are scored strictly and relaxed; intervals are by the bootstrap over
texts, and differences are paired. It can be stopped and started again: finished cells are kept, one
that was cut off begins anew.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.graphrag.cells import CONTESTANTS, USUAL, Contest
from benchmarks.graphrag.plan import GENERIC, SOFT, Cell, Plan
from benchmarks.graphrag.scores import summary_rows
from benchmarks.graphrag.sets import EXTRACTION_SETS, ExtractionSizes
from benchmarks.machine import processor, versions
from benchmarks.places import RESULTS
from benchmarks.workers import add_run_options, run_cells, run_missing, say_plan
from cuecard.errors import FileError

OUT = RESULTS / "graphrag.json"
MODELS = ("qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not there yet, then write the results."""
    given = _arguments(arguments)
    plan = _plan(given)
    cells = _cells(plan, given)
    folder = Path(given.cells)
    if not given.worker:
        _check_corpora(given)
        say_plan(cells, folder, ".", _cost, given.workers)
    return run_cells(
        "benchmarks.graphrag",
        given,
        arguments,
        cells,
        folder,
        lambda: work(cells, folder, given.workers),
        lambda: summary(plan, cells, folder),
    )


def work(cells: Sequence[Cell], folder: Path, workers: int = 1) -> None:
    """Run every cell that is not there, but for those another process has taken."""

    def run(cell: Cell) -> str:
        found = Contest(cell, folder, partial(_show, cell)).run()
        return f"{found['model']} {cell.set} {cell.seed} {cell.contestant}: {_told(found)}"

    def ready(cell: Cell) -> bool:
        return cell.first is None or cell.first.file(folder).exists()

    run_missing(cells, folder, run, _cost, workers, ready)


def summary(plan: Plan, cells: Sequence[Cell], folder: Path) -> dict[str, Any]:
    """Numbers of every contestant; no text of the corpora, which are not the project's."""
    found = [json.loads(cell.file(folder).read_text()) for cell in cells]
    told = asdict(plan)
    del told["corpora"]
    return {
        "plan": told | {"trains": [Path(each).name for each in plan.trains]},
        "machine": processor(),
        "versions": versions(),
        "rows": summary_rows(found),
    }


def _plan(given: argparse.Namespace) -> Plan:
    return Plan(
        corpora=str(given.corpora.resolve()),
        sizes=ExtractionSizes(
            given.texts, given.solved, given.searched, given.trained, given.corpus
        ),
        answer_tokens=given.answer_tokens,
        calls=given.calls,
        searcher=given.searcher,
        steps=given.steps,
        batch_rows=given.batch_rows,
        trains=tuple(given.train),
        at_once=given.at_once,
    )


def _cells(plan: Plan, given: argparse.Namespace) -> list[Cell]:
    """Seeds choose chunks, candidates and training rows: the generic prompt needs one alone."""
    cells = [
        Cell(plan, model, name, seed, contestant)
        for model in given.models
        for name in given.sets
        for contestant in dict.fromkeys((GENERIC, *given.contestants))
        for seed in (given.seeds[:1] if contestant == GENERIC else given.seeds)
    ]
    needed = [first for cell in cells if (first := cell.first) is not None]
    return list(dict.fromkeys([*cells, *needed]))


def _check_corpora(given: argparse.Namespace) -> None:
    """Refuse sets that are not there before the first one is run."""
    for name in given.sets:
        place = given.corpora / EXTRACTION_SETS[name].folder
        if not place.is_dir():
            raise FileError("there is no such gold set", where=str(place), expected="--corpora")


def _cost(cell: Cell) -> float:
    """CPU-seconds on Zen 4, for the first guess at the time left; see LOG.md."""
    plan, large = cell.plan, 3.0 if "1.5b" in cell.model else 1.0
    calls = plan.sizes.test + (plan.calls if cell.first is not None else 0)
    trained = cell.contestant == SOFT and cell.model in plan.trains
    rows = plan.steps * plan.batch_rows if trained else 0
    return large * (2.5 * calls + 4.0 * rows)


def _told(found: Mapping[str, Any]) -> str:
    if "unsupported" in found:
        return str(found["unsupported"])
    (row,) = summary_rows([found])
    scores, cpu = row["scores"], row["made"]["cpu_s"] + row["cpu_s"]
    return (
        f"entities {scores['entities, strict']['f1']:.3f}, "
        f"relations {scores['relations, strict']['f1']:.3f}, {cpu:.0f} CPU-s"
    )


def _show(cell: Cell, event: dict[str, Any]) -> None:
    if sys.stderr.isatty():
        print(f"  {cell.contestant}: {event['event']}   ", end="\r", file=sys.stderr, flush=True)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.graphrag", description=(__doc__ or "").split("\n\n")[0]
    )
    sizes, plan = ExtractionSizes(), Plan("")
    parser.add_argument("--corpora", type=Path, required=True, help="where ie_conll04 is")
    parser.add_argument("--sets", nargs="+", choices=EXTRACTION_SETS, default=[*EXTRACTION_SETS])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(USUAL))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--texts", type=int, default=sizes.test, help="of each set, to test on")
    parser.add_argument("--solved", type=int, default=sizes.solved, help="gold of a tuning")
    parser.add_argument("--searched", type=int, default=sizes.searched, help="texts of a search")
    parser.add_argument("--trained", type=int, default=sizes.trained, help="of a soft prompt")
    parser.add_argument("--corpus", type=int, default=sizes.corpus, help="texts of a tuning")
    parser.add_argument("--answer-tokens", type=int, default=plan.answer_tokens)
    parser.add_argument("--calls", type=int, default=plan.calls, help="of a search")
    parser.add_argument("--searcher", default=plan.searcher)
    parser.add_argument("--train", nargs="*", default=[MODELS[0]], help="models for soft prompts")
    parser.add_argument("--steps", type=int, default=plan.steps, help="of a soft prompt's training")
    parser.add_argument("--batch-rows", type=int, default=plan.batch_rows)
    parser.add_argument("--at-once", type=int, default=plan.at_once, help="requests that share")
    add_run_options(parser, "runs/bench-graphrag", OUT)
    return parser.parse_args(arguments)
