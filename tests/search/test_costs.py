"""What a search says that it will take, and what it takes: of searchers that run a backbone."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import Any

import pytest

from cuecard.engine.local.engine import LocalEngine
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.search.budget import Amount, SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.costs import SearchCosts
from cuecard.search.found import Found
from cuecard.search.journal import Journal
from cuecard.search.loop import Search
from cuecard.search.model import SearchModel
from cuecard.search.searcher import RunsModel, Searcher, SearchState
from cuecard.search.searchers import SEARCHERS
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import EngineSolver
from cuecard.tasks import TaskSpec
from support.data.reviews import MASKED_SPEC, SPEC, TEXT_SPEC, review_task, title_task
from support.tiny import shared_backbone

SETTINGS = SearchSettings(
    rows=10, proposals=3, rounds=2, finalists=1, block=5, step_rows=4, population=4
)
GRADIENT = [name for name, entry in SEARCHERS.items() if "gradients" in entry.needs]
BY_PROBE = {"words_by": "probe"}
NAMES = [name for name, entry in SEARCHERS.items() if isinstance(entry.make(), RunsModel)]


class Measured:
    """A searcher, and what it took in each round beside the race."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self.took: list[Amount] = []

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        before = state.calls.used
        found = await self._searcher.propose(state, count)
        self.took.append(state.calls.used - before)
        return found

    def most(self, state: SearchState, count: int) -> Amount:
        assert isinstance(self._searcher, RunsModel)
        return self._searcher.most(state, count)


def search(
    name: str, kind: str, spec: TaskSpec, settings: SearchSettings, text: str
) -> tuple[SearchCosts, Amount, Found, list[Amount]]:
    """What is said of it, what of that is beside the race, what it led to and took beside."""
    task = replace(title_task() if spec is TEXT_SPEC else review_task(60, spec), test=())
    calls, backbone = Calls(Journal(None, name), SearchBudget()), shared_backbone(kind)
    prompt = ManualPrompt("start", spec.template, f"{text}\n\n" if text else "")
    start, searcher = PromptCandidate(prompt, "start"), Measured(SEARCHERS[name].make())
    shown = replace(prompt, demonstrations=task.train[:1])

    async def run() -> tuple[SearchCosts, Amount, Found, list[Amount]]:
        engine = LocalEngine(backbone)
        await engine.start()
        try:
            solver = EngineSolver(engine, "weights", spec, calls)
            made = Search(
                task,
                start,
                searcher,
                solver,
                calls,
                settings,
                model=SearchModel(backbone, calls),
                # Beside another causal model than the one that answers where that is none.
                policy=SearchModel(backbone if kind == "llama" else shared_backbone("gpt2"), calls),
                others=[PromptCandidate(shown, "another")],
            )
            costs, beside = made.needs.costs(), made.needs.beside
            assert calls.used == Amount()
            return costs, beside, await made.run(), searcher.took
        finally:
            await engine.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "kind", "spec", "more"),
    [(name, "llama", SPEC, {}) for name in NAMES]
    + [(name, "roberta", MASKED_SPEC, BY_PROBE) for name in ("label-words", "autoprompt")]
    + [("rlprompt", "roberta", MASKED_SPEC, {"written_tokens": 3})]
    + [(name, "roberta", MASKED_SPEC, {"fluency": 0.1}) for name in GRADIENT]
    + [(name, "t5-gated", TEXT_SPEC, {"trigger_tokens": 3}) for name in (*GRADIENT, "bbt")],
)
def test_no_round_takes_more_than_was_said(
    name: str, kind: str, spec: TaskSpec, more: dict[str, Any]
) -> None:
    text = "Decide whether the film is good." if kind == "llama" else ""
    settings = SETTINGS.model_copy(update=more)
    costs, beside, found, took = search(name, kind, spec, settings, text)
    for each in took:  # of nothing in a round in which there is nothing new to be fitted
        assert each.calls <= beside.calls and each.tokens <= beside.tokens
    # Nor is it much more than is taken.
    most = max(each.calls for each in took)
    assert most > 0 and beside.calls <= (4 if name == "auto" else 1.5) * most
    parts = {part.name: part for part in costs.parts}
    assert parts["round"].most.calls == beside.calls + 3 * 10
    assert f"{beside.calls} rows that the searcher runs the model on" in parts["round"].what
    limits = asdict(sum((parts[n].most for n in ("start", "round", "round", "finals")), Amount()))
    assert found.spent.calls <= limits["calls"] + 10  # the other prompt races beside
    assert found.rounds <= 2 and found.spent.tokens > sum(each.tokens for each in took)


def test_searchers_that_run_no_model_say_so() -> None:
    assert set(NAMES) >= {*GRADIENT, "rlprompt", "bbt", "calibration", "label-words", "auto"}
    assert not {"grips", "demonstrations", "ape"} & set(NAMES)
