"""One contestant on one set with one seed: searched or trained, then tested once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.search.sets import Sizes, catalogue_task, folder_task, shot_task
from benchmarks.workers import short_key
from cuecard import PromptTuning, TrainConfig, train
from cuecard.errors import ConfigError, LLMError
from cuecard.evaluation.evaluate import Evaluation, evaluate
from cuecard.evaluation.report import plain, write_json
from cuecard.metrics.intervals import mean_interval
from cuecard.runs.llm_recipe import LLMRecipe
from cuecard.runs.llms import ChosenLLM, Engines
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import AS_IT_WAS, PromptCandidate, first_candidate
from cuecard.search.found import Found
from cuecard.search.journal import Journal
from cuecard.search.loop import Search
from cuecard.search.model import SearchModel
from cuecard.search.scorer import RowScorer
from cuecard.search.searchers import SEARCHERS, at_hand
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import EngineSolver
from cuecard.tasks import Task
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone

Protocol = Literal["16-shot", "tasks"]
START, SOFT, AUTO = AS_IT_WAS, "soft prompt", "auto"
_BATCH, _VALIDATIONS = 8, 5


@dataclass(frozen=True)
class Plan:
    """What every cell of a protocol is run with.

    Attributes:
        backbone: answers.
        llm: writes; None without one.
        calls: the budget of each contestant.
        population, step_rows: of searchers that have generations or steps; see `SearchSettings`.
        places: files or folders of the sets; none for those of the catalogue.
        tests: where the test rows of a folder's sets are; "" for the folder.
    """

    protocol: Protocol
    backbone: str
    llm: str | None
    calls: int
    population: int
    step_rows: int
    places: tuple[str, ...] = ()
    tests: str = ""
    sizes: Sizes = field(default_factory=Sizes)

    @property
    def key(self) -> str:
        """Names the folder: cells of another plan are not taken for this one's.

        A task's cells are those of its file, whatever other tasks are measured.
        """
        about = asdict(self)
        if self.protocol == "tasks":
            del about["places"]
        return f"{self.protocol}-{short_key(about)}"

    def task(self, name: str, seed: int, *, chat: bool) -> Task:
        """A set with a seed's rows."""
        if self.protocol == "tasks":
            file = next(Path(each) for each in self.places if Path(each).stem == name)
            return folder_task(file, seed, self.sizes, chat=chat)
        place = None if not self.places else Path(self.places[0])
        if place is not None and place.is_dir():
            tests = Path(self.tests) if self.tests else None
            return shot_task(place, name, seed, self.sizes, tests)
        return catalogue_task(name, seed, self.sizes, None if place is None else str(place))

    def search(self, seed: int) -> SearchSettings:
        """How each search goes."""
        return SearchSettings(seed=seed, population=self.population, step_rows=self.step_rows)


@dataclass(frozen=True)
class Cell:
    """A set, a seed and a contestant: the start, a searcher's name or a soft prompt."""

    plan: Plan
    set: str
    seed: int
    contestant: str

    def file(self, folder: Path) -> Path:
        """Where its result goes."""
        name = f"{self.contestant.replace(' ', '-')}-{self.seed}.json"
        return folder / self.plan.key / self.set / name


def contestants(*, llm: bool) -> list[str]:
    """Who competes, in the order they run: the start first, which others are compared with."""
    has = at_hand(llm=llm)
    return [START, *(name for name, one in SEARCHERS.items() if not one.missing(has)), SOFT]


class Contest:
    """One set with one seed: the task, its start, and every contestant.

    Args:
        writer: the LLM that writes; None without one.
        tell: is told of rounds and validations.
    """

    def __init__(
        self,
        backbone: Backbone,
        writer: Backbone | None,
        cell: Cell,
        folder: Path,
        tell: Observer,
    ) -> None:
        self._backbone, self._writer, self._plan = backbone, writer, cell.plan
        self._folder, self._tell = folder, tell
        chat = bool(backbone.tokenizer.chat_template)
        self._task = cell.plan.task(cell.set, cell.seed, chat=chat)
        self._first = first_candidate(self._task.spec)
        labels = self._task.spec.mode == "labels"
        self._scorer = RowScorer(self._task.spec, None if labels else "exact_match")
        self._has = at_hand(llm=writer is not None, labels=labels)

    def run(self, cell: Cell) -> dict[str, Any]:
        """The cell's result, written to its file."""
        own = {"set": cell.set, "seed": cell.seed, "contestant": cell.contestant}
        try:
            found = self._run(cell)
        except (ConfigError, LLMError) as error:  # no gradients, a request that is too long
            found = {"unsupported": str(error)}
        found = {"protocol": self._plan.protocol, **own, **found}
        write_json(found, cell.file(self._folder))
        return found

    def _run(self, cell: Cell) -> dict[str, Any]:
        if cell.contestant == SOFT:
            return self._soft(cell)
        if cell.contestant == START:
            return asyncio.run(self._of_start(cell))
        missing = SEARCHERS[cell.contestant].missing(self._has)
        if missing is not None:
            return {"unsupported": f"it needs {missing}"}
        return asyncio.run(self._search(cell))

    async def _of_start(self, cell: Cell) -> dict[str, Any]:
        """The start, whose test rows are the same for all seeds."""
        calls = Calls(Journal(None, ""), SearchBudget())
        began = time.process_time()
        async with Engines() as engines:
            engine, weights = await engines.of(self._backbone), self._backbone.fingerprint.weights
            solver = EngineSolver(engine, weights, self._task.spec, calls, self._scorer)
            answers = await solver.judge(self._first, self._task.validation)
        cpu = time.process_time() - began
        siblings = cell.file(self._folder).parent.glob(f"{START.replace(' ', '-')}-*.json")
        known = next((json.loads(each.read_text()) for each in siblings), None)
        test = self._tested(self._first) if known is None else _scores(known)
        spent = calls.ledger.spent
        return _result(
            [each.score for each in answers],
            test,
            {"calls": spent.calls, "tokens": spent.tokens, "cpu_s": cpu},
            self._told(self._first),
        )

    async def _search(self, cell: Cell) -> dict[str, Any]:
        backbone, task = self._backbone, self._task
        calls = Calls(Journal(None, ""), SearchBudget(calls=self._plan.calls))
        rounds: list[tuple[int, float]] = []
        first = 0

        def hear(event: dict[str, Any]) -> None:
            nonlocal first
            if event["event"] == "start":
                first = calls.ledger.spent.calls
            if event["event"] == "round":
                rounds.append((event["calls"], event["best"]))
            self._tell(event)

        began = time.process_time()
        async with Engines() as engines:
            engine, weights = await engines.of(backbone), backbone.fingerprint.weights
            asker = None
            if self._writer is not None and self._plan.llm is not None:
                chosen = ChosenLLM(LLMRecipe(model=self._plan.llm), None, self._writer)
                asker = await engines.asker(chosen, calls)
            search = Search(
                task,
                self._first,
                SEARCHERS[cell.contestant].make(),
                EngineSolver(engine, weights, task.spec, calls, self._scorer),
                calls,
                self._plan.search(cell.seed),
                asker=asker,
                model=SearchModel(backbone, calls),
                observer=hear,
            )
            found = await search.run()
        cpu = time.process_time() - began
        kept = next(each for each in found.finals if each.candidate.key == found.best.key)
        own = Cell(cell.plan, cell.set, cell.seed, START).file(self._folder)
        test = self._tested(found.best) if found.better else _scores(json.loads(own.read_text()))
        return _result(
            [each.score for each in kept.answers],
            test,
            {"calls": found.spent.calls, "tokens": found.spent.tokens, "cpu_s": cpu},
            self._told(found.best),
            better=found.better,
            rounds=found.rounds,
            ended=found.ended,
            curve=[(first, _raced(found)), *rounds],
        )

    def _soft(self, cell: Cell) -> dict[str, Any]:
        """Vectors that begin as the start's instruction, on as many rows as a search has calls.

        The rows of validations count; that a training row is run backward, too, does not.
        """
        task, start = self._task, self._first.prompt
        validated = _VALIDATIONS * len(task.validation)
        steps = max(1, (self._plan.calls - validated) // _BATCH)
        config = TrainConfig(
            steps=steps,
            warmup=min(10, steps),
            batch_rows=_BATCH,
            eval_every=max(1, -(-steps // (_VALIDATIONS - 1))),
            seed=cell.seed,
        )
        method = PromptTuning(init="text", text=start.instruction)
        run = train(self._backbone, task, method, config, observer=self._tell)
        injection = run.prompt.injection()
        prior = run.prompt.manifest.prior
        found = evaluate(self._backbone, run.prompt.spec, task.validation, injection, prior=prior)
        assert run.test is not None
        return _result(
            self._values(found),
            self._values(run.test),
            {
                "calls": run.steps * _BATCH + validated,
                "tokens": run.tokens,
                "cpu_s": run.cpu_seconds,
            },
            {"text": run.prompt.spec.template, "vectors": injection.length},
        )

    def _tested(self, candidate: PromptCandidate) -> list[float]:
        """What a prompt gets for every test row."""
        backbone = self._backbone
        spec = candidate.to_spec(self._task.spec, backbone.tokenizer, backbone.max_positions)
        soft = None if candidate.soft is None else candidate.soft.injection
        return self._values(evaluate(backbone, spec, self._task.test, soft, prior=candidate.prior))

    def _values(self, found: Evaluation) -> list[float]:
        return [float(value) for value in found.vectors[self._scorer.name]]

    def _told(self, candidate: PromptCandidate) -> dict[str, Any]:
        """What can be read of a prompt, and what stands beside."""
        backbone = self._backbone
        spec = candidate.to_spec(self._task.spec, backbone.tokenizer, backbone.max_positions)
        told: dict[str, Any] = {"text": spec.template, "origin": candidate.origin}
        if candidate.prompt.words is not None:
            told["words"] = dict(candidate.prompt.words)
        if candidate.prior is not None:
            told["prior"] = dict(candidate.prior)
        if candidate.vectors:
            told["vectors"] = candidate.vectors
        return told


def _raced(found: Found) -> float:
    """What the start got in the race."""
    return next(each.score for each in found.ranked if each.candidate.key == found.start.key)


def _scores(result: dict[str, Any]) -> list[float]:
    return [float(mark) for mark in result["right"]]


def _result(
    validation: Sequence[float],
    test: Sequence[float],
    spent: dict[str, Any],
    told: dict[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """A cell's numbers. Every score is 0 or 1: labels, and texts by exact match."""
    found: dict[str, Any] = plain(
        {
            "validation": sum(validation) / len(validation),
            "validation_ci95": mean_interval(validation),
            "test": sum(test) / len(test),
            "test_ci95": mean_interval(test),
            "right": "".join(str(int(value)) for value in test),
            **spent,
            **told,
            **more,
        }
    )
    return found
