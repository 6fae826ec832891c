"""GEPA's and promptolution's own code beside the searchers here: `make bench-search-peers`.

    python -m benchmarks.search.peers --task boolean_expressions.json [--seeds 13 21 --calls 200]

One model answers and writes; every contestant has the same rows and as many calls, each of them one
request, whether a row is answered or a prompt is written. What passes the budget is refused. What
is found is chosen on validation rows; the test rows are answered once by each contestant and seed,
asked and read as its own code does. Finished cells are kept.

promptolution is not among this project's packages: `make bench-search-peers` puts it into a folder
of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.machine import processor, versions
from benchmarks.methods.score import Right, as_right
from benchmarks.places import RESULTS
from benchmarks.search.peers_cells import START, PeersCell, PeersContest, PeersPlan, opened
from benchmarks.search.peers_models import PEERS
from benchmarks.search.score import mean_over_sets, minus, sets_interval
from benchmarks.search.sets import SEEDS, Sizes
from benchmarks.workers import missing, run_cells, run_missing
from cuecard.errors import ConfigError
from cuecard.evaluation.report import plain, write_json

OUT = RESULTS / "search_peers.json"
MODEL = "qwen2.5-coder-0.5b-instruct"
OURS = ("capo", "gepa", "gepa-library", "auto")
PAIRS = (("capo", "promptolution CAPO"), ("gepa", "gepa.optimize"), ("auto", "gepa.optimize"))
"""Ours, and the peer that it is compared with."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not there yet, then write the results."""
    given = _arguments(arguments)
    sizes = Sizes(given.train_rows // 2, given.train_rows, given.test_rows, given.max_length)
    plan = PeersPlan(given.model, given.task, given.calls, given.written, sizes)
    cells = [PeersCell(plan, seed, name) for seed in given.seeds for name in given.contestants]
    folder = Path(given.cells)
    name = "benchmarks.search.peers"
    return run_cells(
        name,
        given,
        arguments,
        cells,
        folder,
        lambda: work(cells, folder),
        lambda: summary(cells, folder),
    )


def work(cells: Sequence[PeersCell], folder: Path) -> None:
    """Run every cell that is not there."""
    left = missing(cells, folder)
    if any(cell.contestant.startswith("promptolution") for cell in left):
        _check_promptolution()
    if not left:
        return
    plan = left[0].plan
    with asyncio.Runner() as runner, opened(plan.model, runner) as llm:
        contest = PeersContest(plan, llm, runner)

        def run(cell: PeersCell) -> str:
            found = contest.run(cell)
            write_json(found, cell.file(folder))
            told = f"test {found['test']:.3f}, {found['calls']:,} calls, {found['cpu_s']:.0f} CPU-s"
            return f"{cell.seed} {cell.contestant}: {told}"

        run_missing(cells, folder, run, lambda cell: 1.0)


def summary(cells: Sequence[PeersCell], folder: Path) -> dict[str, Any]:
    """Every cell, and per contestant its mean over seeds, beside the start and its peer."""
    found = {cell: json.loads(cell.file(folder).read_text()) for cell in cells}
    plan = cells[0].plan
    own: dict[str, list[dict[str, Any]]] = {}
    for cell, result in found.items():
        own.setdefault(cell.contestant, []).append(result)
    rights = {
        name: as_right([each["right"] for each in each_own]) for name, each_own in own.items()
    }
    pairs = [
        {"ours": ours, "peer": peer, **minus("peer", [rights[ours] - rights[peer]])}
        for ours, peer in PAIRS
        if ours in rights and peer in rights
    ]
    packages = versions() | {
        name: version(name) for name in ("gepa", "promptolution") if find_spec(name) is not None
    }
    told: dict[str, Any] = plain(
        {
            "plan": plain(plan) | {"model": Path(plan.model).name, "task": Path(plan.task).stem},
            "machine": processor(),
            "versions": packages,
            "rows": [_row(name, results, rights) for name, results in own.items()],
            "pairs": pairs,
            "cells": list(found.values()),
        }
    )
    return told


def _row(
    name: str, results: Sequence[Mapping[str, Any]], rights: Mapping[str, Right]
) -> dict[str, Any]:
    """A contestant's means over seeds."""
    row: dict[str, Any] = {
        "contestant": name,
        "test": mean_over_sets([rights[name]]),
        "test_ci95": sets_interval([rights[name]]),
        **{
            key: sum(each[key] for each in results) / len(results)
            for key in ("calls", "tokens", "cpu_s")
        },
    }
    if name != START and START in rights:
        row |= minus("start", [rights[name] - rights[START]])
    return row


def _check_promptolution() -> None:
    if find_spec("promptolution") is None:
        raise ConfigError(
            "promptolution is not installed",
            where="--contestants",
            hint="make bench-search-peers has it in a folder of its own",
        )


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--task", default="sentiment", help="a JSON file of a task with labels")
    parser.add_argument("--model", default=MODEL, help="answers and writes")
    parser.add_argument("--contestants", nargs="+", default=[START, *OURS, *PEERS])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS[:2]))
    parser.add_argument("--calls", type=int, default=200, help="the budget of each contestant")
    parser.add_argument("--written", type=int, default=96, help="tokens of a written answer")
    parser.add_argument("--train-rows", type=int, default=20, help="and as many for validation")
    parser.add_argument("--test-rows", type=int, default=100)
    parser.add_argument("--max-length", type=int, default=160)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cells", default="runs/bench-search-peers", help="where cells are kept")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.set_defaults(workers=1, worker=False)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
