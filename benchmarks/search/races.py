"""What a race of prompts saves, and whether it finds the same one: `make bench-search-races`.

    python -m benchmarks.search.races [--sets sentiment topic --seeds 13 21 --candidates 12]

Prompts with solved rows, drawn as the searcher `demonstrations` draws them, answer all rows; so
does the prompt as it was. On these answers the search's own race is run again and again, each time
with the rows in another order, and costs nothing. Beside it stand as many calls in equal shares:
every prompt answers the same first rows. Finished cells are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import processor, versions
from benchmarks.methods.sets import SETS, Rows, read_task
from benchmarks.places import RESULTS
from benchmarks.search.benchmark import BACKBONE
from benchmarks.search.sets import CATALOGUE, SEEDS
from benchmarks.workers import add_run_options, run_cells, run_missing
from cuecard import load_backbone
from cuecard.evaluation.baselines.manual import demonstration_counts, with_demonstrations
from cuecard.evaluation.report import plain, write_json
from cuecard.runs.llms import Engines
from cuecard.search.budget import Amount, SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate, first_candidate
from cuecard.search.journal import Journal
from cuecard.search.race import Racer, race
from cuecard.search.scorer import RowScorer
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import EngineSolver, Judged
from cuecard.tasks import TaskSpec, draw_rows
from cuecard.types import Backbone, Record

OUT = RESULTS / "search_races.json"
_SHOWN = 64

Answers = Mapping[tuple[str, int], Judged]
"""By a prompt's key and the id of a row."""


@dataclass(frozen=True)
class RaceCell:
    """A set and a seed, by which its rows and its prompts are drawn.

    Attributes:
        data: a file instead of the set's own source.
    """

    set: str
    seed: int
    candidates: int
    rows: int
    data: str | None = None

    def file(self, folder: Path) -> Path:
        """Where its result goes."""
        return folder / f"{self.set}-{self.seed}-{self.candidates}x{self.rows}.json"


class Answered:
    """A solver of what has been answered before, which counts what it is asked again."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.calls = 0

    async def judge(self, candidate: PromptCandidate, records: Sequence[Record]) -> list[Judged]:
        """See `Solver.judge`."""
        self.calls += len(records)
        return [self._answers[candidate.key, id(record)] for record in records]

    def most(self, candidate: PromptCandidate, records: Sequence[Record]) -> Amount:
        """See `Solver.most`."""
        return Amount(len(records))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not there yet, then write the results."""
    given = _arguments(arguments)
    cells = [
        RaceCell(name, seed, given.candidates, given.rows, given.data)
        for name in given.sets
        for seed in given.seeds
    ]
    folder = Path(given.cells)
    return run_cells(
        "benchmarks.search.races",
        given,
        arguments,
        cells,
        folder,
        lambda: work(cells, folder, given),
        lambda: summary(cells, folder, given),
    )


def work(cells: Sequence[RaceCell], folder: Path, given: argparse.Namespace) -> None:
    """Run every cell that is not there."""
    backbone = functools.cache(lambda: load_backbone(given.backbone, device="cpu"))

    def run(cell: RaceCell) -> str:
        found = _run(cell, backbone(), given.orders)
        write_json(found, cell.file(folder))
        return f"{cell.set} {cell.seed}: {found['race']['share']:.0%} of the calls"

    run_missing(cells, folder, run, lambda cell: 0.1 * cell.candidates * cell.rows, given.workers)


def summary(cells: Sequence[RaceCell], folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Every cell, and the means of all."""
    found = [json.loads(cell.file(folder).read_text()) for cell in cells]
    means = {
        way: {key: float(np.mean([each[way][key] for each in found])) for key in found[0][way]}
        for way in ("race", "equal")
    }
    told: dict[str, Any] = plain(
        {
            "backbone": Path(given.backbone).name,
            "candidates": given.candidates,
            "rows": given.rows,
            "block": SearchSettings().block,
            "orders": given.orders,
            **means,
            "machine": processor(),
            "versions": versions(),
            "cells": found,
        }
    )
    return told


def _run(cell: RaceCell, backbone: Backbone, orders: int) -> dict[str, Any]:
    """What all prompts answer, and what races on that choose."""
    whole = read_task(SETS[cell.set], Rows(validation=20, test=20), cell.data)
    drawn = draw_rows(whole.train, cell.rows + _SHOWN, f"races {cell.seed}")
    rows, shown = drawn[: cell.rows], drawn[cell.rows :]
    pool = _pool(cell, whole.spec, shown)
    answers = asyncio.run(_answers(pool, backbone, whole.spec, rows))
    scores = {
        each.key: float(np.mean([answers[each.key, id(row)].score for row in rows]))
        for each in pool
    }
    about = {"set": cell.set, "seed": cell.seed, "scores": [*scores.values()]}
    return about | asyncio.run(_replayed(pool, rows, answers, scores, orders, cell.seed))


def _pool(cell: RaceCell, spec: TaskSpec, shown: Sequence[Record]) -> list[PromptCandidate]:
    """The prompt as it was, and others with solved rows in front."""
    first = first_candidate(spec)
    counts = demonstration_counts(spec, shown)
    pool = [first]
    for number in range(cell.candidates - 1):
        count, seed = counts[number % len(counts)], 1000 * cell.seed + number
        (prompt,) = with_demonstrations(first.prompt, shown, (count,), spec, seed)
        pool.append(PromptCandidate(prompt, f"{count} demonstrations"))
    return pool


async def _answers(
    pool: Sequence[PromptCandidate], backbone: Backbone, spec: TaskSpec, rows: Sequence[Record]
) -> Answers:
    """What every prompt answers to every row."""
    calls = Calls(Journal(None, ""), SearchBudget())
    async with Engines() as engines:
        engine, weights = await engines.of(backbone), backbone.fingerprint.weights
        solver = EngineSolver(engine, weights, spec, calls, RowScorer(spec))
        found = [(each.key, await solver.judge(each, rows)) for each in pool]
    return {(key, id(row)): one for key, each in found for row, one in zip(rows, each, strict=True)}


async def _replayed(
    pool: Sequence[PromptCandidate],
    rows: Sequence[Record],
    answers: Answers,
    scores: Mapping[str, float],
    orders: int,
    seed: int,
) -> dict[str, Any]:
    """Races with the rows in so many orders, and equal shares of as many calls."""
    rng = np.random.default_rng(seed)
    chosen: dict[str, list[tuple[float, float]]] = {"race": [], "equal": []}
    for _ in range(orders):
        shuffled = [rows[int(at)] for at in rng.permutation(len(rows))]
        again = Answered(answers)
        ranked = await race(
            [Racer(each) for each in pool], again, shuffled, block=SearchSettings().block
        )
        share = again.calls / (len(pool) * len(rows))
        chosen["race"].append((share, scores[ranked[0].candidate.key]))
        count = max(1, again.calls // len(pool))
        racers = [Racer(each) for each in pool]
        some = await race(racers, Answered(answers), shuffled[:count], block=count)
        chosen["equal"].append((count / len(rows), scores[some[0].candidate.key]))
    best = max(scores.values())
    return {way: _told(each, best) for way, each in chosen.items()}


def _told(chosen: Sequence[tuple[float, float]], best: float) -> dict[str, Any]:
    """The share of the calls, how often the best is chosen, and by how much others are worse."""
    share, scores = np.asarray(chosen).T
    return {
        "share": float(share.mean()),
        "same": float((scores >= best).mean()),
        "worse_by": float((best - scores).mean()),
    }


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--backbone", default=BACKBONE)
    parser.add_argument("--sets", nargs="+", default=list(CATALOGUE))
    parser.add_argument("--data", help="a file of the sets' layout instead of their own sources")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS[:2]))
    parser.add_argument("--candidates", type=int, default=12, help="prompts that race")
    parser.add_argument("--rows", type=int, default=240, help="that all of them answer")
    parser.add_argument("--orders", type=int, default=200, help="of the rows, a race each")
    add_run_options(parser, "runs/bench-search-races", OUT, workers=1)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
