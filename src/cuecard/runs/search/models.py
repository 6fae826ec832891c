"""The LLMs that a search asks: of endpoints elsewhere, or in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cuecard.catalogue import Progress
from cuecard.catalogue.entries import BACKBONES
from cuecard.engine.chat_llm import EngineLLM
from cuecard.engine.local.engine import LocalEngine
from cuecard.errors import ConfigError
from cuecard.evaluation.evaluate import Evaluation, scored_too
from cuecard.llms.openai_llm import KEY, OpenAILLM
from cuecard.llms.prices import Price, price_of
from cuecard.llms.protocol import LLM
from cuecard.runs.recipe import Recipe
from cuecard.runs.search.recipe import JudgeRecipe, LLMRecipe, SearchRecipe, SolverRecipe
from cuecard.search.asker import Asker
from cuecard.search.budget import USUAL, Amount, BudgetSpent, SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.costs import of_longer
from cuecard.search.judge import FLAG as JUDGE_BUDGET
from cuecard.search.scorer import Scorer
from cuecard.search.solver import LLMSolver, Solver
from cuecard.tasks.similar import nearest
from cuecard.types import Backbone, Prediction, Record, value_text


class Engines:
    """The engines of a search's backbones: one for each, started when it is first asked for.

    All of them, and connections to endpoints, are closed at the end of an `async with`.
    """

    def __init__(self) -> None:
        self._started: list[tuple[Backbone, LocalEngine]] = []
        self._llms: list[LLM] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        for _, engine in self._started:
            await engine.close()
        for llm in self._llms:
            await llm.close()

    async def of(self, backbone: Backbone) -> LocalEngine:
        """The engine of a backbone."""
        for known, engine in self._started:
            if known is backbone:
                return engine
        engine = LocalEngine(backbone)
        await engine.start()
        self._started.append((backbone, engine))
        return engine

    async def llm(self, chosen: ChosenLLM) -> LLM:
        """What is asked for an answer.

        Raises:
            ConfigError: a model that cannot be asked.
        """
        llm: LLM
        if isinstance(chosen.model, OpenAILLM):
            llm = chosen.model
        else:
            settings = chosen.settings
            engine = await self.of(chosen.model)
            llm = EngineLLM(engine, settings.model, at_once=settings.at_once)
        self._llms.append(llm)
        return llm

    async def asker(self, chosen: ChosenLLM, calls: Calls) -> Asker:
        """An LLM as a search asks it; errors as in `llm`."""
        return Asker(await self.llm(chosen), calls, chosen.price)


@dataclass(frozen=True)
class ChosenLLM:
    """An LLM that a search asks.

    Attributes:
        settings: which one it is.
        price: None where tokens cost nothing, or nobody knows what.
        model: where it answers; a backbone in this process, or an endpoint's client.
    """

    settings: LLMRecipe
    price: Price | None
    model: Backbone | OpenAILLM

    @property
    def identity(self) -> list[str | None]:
        """What its answers depend on beside what it is asked."""
        if isinstance(self.model, OpenAILLM):
            return [self.settings.model, self.settings.url]
        return [self.settings.model, self.model.fingerprint.weights]


@dataclass(frozen=True)
class SearchModels:
    """The models of a search.

    Attributes:
        answers: what answers the task's rows.
        writes: the LLM that writes; None without one.
        judges: the LLM that scores answers; None without one.
    """

    answers: Backbone | ChosenLLM
    writes: ChosenLLM | None
    judges: ChosenLLM | None = None


def search_models(plan: SearchRecipe, progress: Progress | None = None) -> SearchModels:
    """Connect to a search's LLMs and load its models, each once.

    Raises:
        ConfigError: no key, no address, no price, or a model that does not write.
        BackboneError, CatalogueError: a model that cannot be had.
    """
    budget = SearchBudget.parse(plan.budget)
    for each in plan.llms:
        _check_model(each)
    _check_limits(plan, budget)
    # What is wrong with an endpoint is told before a model is loaded.
    found = {each.FLAG: _endpoint(each, budget) for each in plan.llms if not each.is_here}
    loaded: dict[str, Backbone] = {}
    backbone = None
    if plan.solver is None:
        backbone = plan.recipe.load_backbone(progress)
        if plan.recipe.adapter is None:
            loaded[plan.recipe.backbone] = backbone
    for each in plan.llms:
        if each.is_here:
            found[each.FLAG] = _here(each, plan.recipe, loaded, progress)
    answers = found.get(SolverRecipe.FLAG, backbone)
    assert answers is not None
    return SearchModels(answers, found.get(LLMRecipe.FLAG), found.get(JudgeRecipe.FLAG))


def _here(
    settings: LLMRecipe, recipe: Recipe, loaded: dict[str, Backbone], progress: Progress | None
) -> ChosenLLM:
    """A model in this process, with the precision and device of the recipe's backbone."""
    if settings.model not in loaded:
        own = {"backbone": settings.model, "adapter": None, "quantize": "none"}
        loaded[settings.model] = recipe.model_copy(update=own).load_backbone(progress)
    price = None if settings.price is None else Price(*settings.price)
    return ChosenLLM(settings, price, loaded[settings.model])


def _endpoint(settings: LLMRecipe, budget: SearchBudget) -> ChosenLLM:
    url_flag = f"{settings.PREFIX}-url"
    price = price_of(settings.model) if settings.price is None else Price(*settings.price)
    where = USUAL
    if isinstance(settings, JudgeRecipe):  # which has one of its own
        where, budget = JUDGE_BUDGET, SearchBudget.parse(settings.budget)
    if price is None and budget.money is not None:
        raise ConfigError(
            "a budget of money needs the model's price, which is not known",
            where=where,
            got=settings.model,
            expected=f"{settings.PREFIX}-price READ,WRITTEN, in dollars for a million tokens",
        )
    near = nearest(settings.model, BACKBONES)
    if settings.url is None and KEY not in os.environ and near is not None:
        raise ConfigError(
            "the catalogue has no such model",
            where=f"{settings.FLAG} {settings.model}",
            expected=f"its name, a folder, or {url_flag} with an endpoint's address",
            hint=near,
        )
    endpoint = OpenAILLM(
        settings.model,
        settings.url,
        seconds=settings.seconds,
        at_once=settings.at_once,
        flag=url_flag,
    )
    return ChosenLLM(settings, price, endpoint)


def _check_limits(plan: SearchRecipe, budget: SearchBudget) -> None:
    """Refuse a budget that nothing in the search spends: it would never end it."""
    paid = [each for each in (plan.solver, plan.llm) if each is not None]
    if paid and not all(each.is_here and each.price is None for each in paid):
        return
    if budget.money is not None and budget == SearchBudget(money=budget.money):
        raise ConfigError(
            "nothing in this search costs money, so this budget would never end it",
            where=USUAL,
            got=plan.budget,
            expected="calls, tokens or time, such as '2000 calls'",
        )


def _check_model(settings: LLMRecipe) -> None:
    """Refuse a folder that is not there, and a model that does not write."""
    if settings.url is None and not settings.is_here and settings.model.startswith((".", "/", "~")):
        raise ConfigError(
            "there is no such folder",
            where=settings.FLAG,
            got=settings.model,
            expected="a model's folder, a name of the catalogue, or an endpoint's model",
        )
    entry = BACKBONES.get(settings.model) if settings.is_here else None
    if entry is not None and entry.family != "causal":
        writers = [name for name, each in BACKBONES.items() if each.family == "causal"]
        raise ConfigError(
            "this model of the catalogue does not write",
            where=f"{settings.FLAG} {settings.model}",
            expected=", ".join(writers),
        )


def most_of_test(solver: Solver, start: PromptCandidate, records: Sequence[Record]) -> Amount:
    """What the start and a longer prompt take on the test rows."""
    most = solver.most(start, records)
    return most + of_longer(most, 1)


async def tested_by_llm(
    solver: LLMSolver, scorer: Scorer, candidate: PromptCandidate, records: Sequence[Record]
) -> Evaluation | None:
    """What an LLM's answers to test rows are worth, by what candidates were scored by.

    None without rows, and where the budget does not pay for it.

    Raises:
        LLMError, DataError: as `Solver.judge`.
    """
    if not records:
        return None
    try:
        found = await solver.judge(candidate, records)
    except BudgetSpent as error:
        if error.flag == USUAL:
            return None
        raise scores_unpaid(error, len(records)) from error
    predictions = [Prediction(number, one.answer, {}, {}) for number, one in enumerate(found)]
    bare = Evaluation(
        primary=scorer.name,
        metrics={},
        ci95={},
        vectors={},
        records=tuple(records),
        predictions=tuple(predictions),
        seconds=0.0,
        tokens_per_request=0,
        gold=tuple(value_text(record.target or "") for record in records),
    )
    return scored_too(bare, scorer.name, [each.score for each in found])


def scores_unpaid(error: BudgetSpent, rows: int) -> ConfigError:
    """The error of a judge whose budget is spent before the test."""
    return ConfigError(
        "the budget does not last for the scores of the test rows",
        where=error.flag,
        got=str(error),
        expected=f"enough for {rows} more answers, twice",
        hint="all that was answered is kept: the same command with a larger budget goes on",
    )
