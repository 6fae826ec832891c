"""One contestant with one seed, ours or a peer's: what it finds within its calls, tested once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.search.peers_models import PEERS, CountedModel
from benchmarks.search.sets import CATALOGUE, Sizes, catalogue_task, folder_task
from benchmarks.workers import short_key
from cuecard import load_backbone
from cuecard.engine.chat_llm import EngineLLM
from cuecard.engine.local.engine import LocalEngine
from cuecard.errors import ConfigError
from cuecard.llms.protocol import LLM, LLMAnswer, LLMRequest
from cuecard.search.asker import Asker
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import AS_IT_WAS, first_candidate
from cuecard.search.journal import Journal
from cuecard.search.loop import Search
from cuecard.search.searchers import SEARCHERS
from cuecard.search.searchers.writing import instruction_of
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import LLMSolver
from cuecard.tasks import Task

START = AS_IT_WAS


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
        return short_key(asdict(self))

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


class PeersContest:
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
