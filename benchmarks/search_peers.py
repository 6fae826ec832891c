"""GEPA's and promptolution's own code beside the searchers here: `make bench-search-peers`.

    python -m benchmarks.search_peers --task boolean_expressions.json [--seeds 13 21 --calls 200]

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
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.machine import processor, versions
from benchmarks.methods_score import Right, as_right
from benchmarks.search_peers_models import PEERS, CountedModel
from benchmarks.search_score import mean_over_sets, sets_interval
from benchmarks.search_sets import CATALOGUE, SEEDS, Sizes, catalogue_task, folder_task
from benchmarks.workers import claimed, missing, run_cells, say_done
from cuecard import load_backbone
from cuecard.engine.chat_llm import EngineLLM
from cuecard.engine.local.engine import LocalEngine
from cuecard.errors import ConfigError
from cuecard.evaluation.report import plain, write_json
from cuecard.llms.protocol import LLM, LLMAnswer, LLMRequest
from cuecard.search.asker import Asker
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import AS_IT_WAS as START
from cuecard.search.candidate import first_candidate
from cuecard.search.journal import Journal
from cuecard.search.loop import Search
from cuecard.search.searchers import SEARCHERS
from cuecard.search.searchers.writing import instruction_of
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import LLMSolver
from cuecard.tasks import Task

OUT = Path(__file__).parents[1] / "benchmarks" / "results" / "search_peers.json"
MODEL = "qwen2.5-coder-0.5b-instruct"
OURS = ("capo", "gepa", "gepa-library", "auto")
PAIRS = (("capo", "promptolution CAPO"), ("gepa", "gepa.optimize"), ("auto", "gepa.optimize"))
"""Ours, and the peer that it is compared with."""


@dataclass(frozen=True)
class PeersPlan:
    """What every cell is run with.

    Attributes:
        task: a JSON file, or a set of the catalogue.
        written: tokens of what the model writes, at most, whoever asks.
    """

    model: str
    task: str
    calls: int
    written: int
    sizes: Sizes

    @property
    def key(self) -> str:
        """Names the folder: cells of another plan are not taken for this one's."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:10]

    def rows(self, seed: int) -> Task:
        """The task with a seed's rows.

        Raises:
            ConfigError: one without labels.
        """
        if self.task in CATALOGUE:
            return catalogue_task(self.task, seed, self.sizes)
        found = folder_task(Path(self.task), seed, self.sizes, chat=True)
        if not found.spec.labels:
            raise ConfigError("the peers are compared on labels", where="--task", got=self.task)
        return found


@dataclass(frozen=True)
class PeersCell:
    """A seed and a contestant."""

    plan: PeersPlan
    seed: int
    contestant: str

    def file(self, folder: Path) -> Path:
        """Where its result goes."""
        return folder / self.plan.key / f"{self.contestant.replace(' ', '-')}-{self.seed}.json"


class BriefLLM:
    """A model that writes so many tokens at most, whoever asks.

    Args:
        llm: closed by who made it.
    """

    def __init__(self, llm: LLM, most: int) -> None:
        self._llm, self._most = llm, most
        self.name, self.at_once = llm.name, llm.at_once

    def most_prompt_tokens(self, request: LLMRequest) -> int:
        """See `LLM.most_prompt_tokens`."""
        return self._llm.most_prompt_tokens(request)

    async def complete(self, request: LLMRequest) -> LLMAnswer:
        """See `LLM.complete`."""
        brief = replace(request, max_tokens=min(request.max_tokens, self._most))
        return await self._llm.complete(brief)

    async def close(self) -> None:
        """See `LLM.close`."""


@contextmanager
def opened(model: str, runner: asyncio.Runner) -> Iterator[LLM]:
    """A model of the catalogue or of a folder, in this process."""
    engine = LocalEngine(load_backbone(model, device="cpu"))
    runner.run(engine.start())
    try:
        yield EngineLLM(engine, model)
    finally:
        runner.run(engine.close())


class _Contest:
    """One contestant with one seed: searched, then tested once.

    Args:
        runner: of the model's event loop.
    """

    def __init__(self, plan: PeersPlan, llm: LLM, runner: asyncio.Runner) -> None:
        self._plan, self._runner = plan, runner
        self._llm = BriefLLM(llm, plan.written)

    def run(self, cell: PeersCell) -> dict[str, Any]:
        """What the contestant found, and what it gets for every test row."""
        task = self._plan.rows(cell.seed)
        model = self._model(SearchBudget(calls=self._plan.calls))
        began = time.process_time()
        if cell.contestant in PEERS:
            start = instruction_of(first_candidate(task.spec))
            found = PEERS[cell.contestant](model, task, start, cell.seed)
            told: dict[str, Any] = {"text": found.text}
            cpu = time.process_time() - began
            right = found.right(self._model(SearchBudget()), task.test)
        else:
            told, right, cpu = self._runner.run(self._ours(cell, task, model, began))
        spent = model.calls.ledger.spent
        return {
            "seed": cell.seed,
            "contestant": cell.contestant,
            **told,
            "test": sum(right) / len(right),
            "right": "".join(str(int(r)) for r in right),
            "calls": spent.calls,
            "tokens": spent.tokens,
            "cpu_s": cpu,
        }

    async def _ours(
        self, cell: PeersCell, task: Task, model: CountedModel, began: float
    ) -> tuple[dict[str, Any], list[float], float]:
        best, more = first_candidate(task.spec), dict[str, Any]()
        if cell.contestant != START:
            solver, asker = LLMSolver(model.asker, task.spec), model.asker
            searcher, settings = SEARCHERS[cell.contestant].make(), self.settings(cell.seed)
            search = Search(task, best, searcher, solver, model.calls, settings, asker=asker)
            found = await search.run()
            best, more = found.best, {"better": found.better, "rounds": found.rounds}
        cpu = time.process_time() - began
        tests = LLMSolver(self._model(SearchBudget()).asker, task.spec)
        right = [each.score for each in await tests.judge(best, task.test)]
        return {"text": tests.text(best), "origin": best.origin, **more}, right, cpu

    @staticmethod
    def settings(seed: int) -> SearchSettings:
        """As they come, but for rounds and finals that few calls pay for."""
        return SearchSettings(seed=seed, proposals=4, finalists=2)

    def _model(self, budget: SearchBudget) -> CountedModel:
        calls = Calls(Journal(None, ""), budget)
        return CountedModel(Asker(self._llm, calls), calls, self._runner)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not there yet, then write the results."""
    given = _arguments(arguments)
    sizes = Sizes(given.train_rows // 2, given.train_rows, given.test_rows, given.max_length)
    plan = PeersPlan(given.model, given.task, given.calls, given.written, sizes)
    cells = [PeersCell(plan, seed, name) for seed in given.seeds for name in given.contestants]
    folder = Path(given.cells)
    name = "benchmarks.search_peers"
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
        contest = _Contest(plan, llm, runner)
        for cell in left:
            with claimed(cell.file(folder)) as mine:
                if mine:
                    found = contest.run(cell)
                    write_json(found, cell.file(folder))
                    _say(cell, found, cells, folder)


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
        {"ours": ours, "peer": peer, **_beside("peer", rights[ours] - rights[peer])}
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
        row |= _beside("start", rights[name] - rights[START])
    return row


def _beside(other: str, difference: Right) -> dict[str, Any]:
    """With the same seed, on the same rows."""
    key = f"minus_{other}"
    return {key: mean_over_sets([difference]), f"{key}_ci95": sets_interval([difference])}


def _check_promptolution() -> None:
    if find_spec("promptolution") is None:
        raise ConfigError(
            "promptolution is not installed",
            where="--contestants",
            hint="make bench-search-peers has it in a folder of its own",
        )


def _say(cell: PeersCell, found: dict[str, Any], cells: Sequence[PeersCell], folder: Path) -> None:
    told = f"test {found['test']:.3f}, {found['calls']:,} calls, {found['cpu_s']:.0f} CPU-s"
    what = f"{cell.seed} {cell.contestant}: {told}"
    say_done(cells, folder, what, lambda other: max(found["cpu_s"], 1.0), 1)


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
