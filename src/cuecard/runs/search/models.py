"""The models of a search, and what its answers are worth on test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cuecard.catalogue import Progress
from cuecard.errors import ConfigError
from cuecard.evaluation.evaluate import Evaluation, scored_too
from cuecard.runs.llm_recipe import LLMRecipe
from cuecard.runs.llms import ChosenLLM, check_limits, check_model, endpoint, in_process
from cuecard.runs.recipe import Recipe
from cuecard.runs.search.recipe import JudgeRecipe, SearchRecipe, SolverRecipe
from cuecard.search.budget import USUAL, BudgetSpent, SearchBudget
from cuecard.search.candidate import PromptCandidate
from cuecard.search.judge import FLAG as JUDGE_BUDGET
from cuecard.search.scorer import Scorer
from cuecard.search.searchers import RLPROMPT
from cuecard.search.searchers.black_box.rlprompt import check_writes
from cuecard.search.solver import LLMSolver
from cuecard.types import Backbone, Prediction, Record, value_text


@dataclass(frozen=True)
class SearchModels:
    """The models of a search.

    Attributes:
        answers: what answers the task's rows.
        writes: the LLM that writes; None without one.
        judges: the LLM that scores answers; None without one.
        policy: what rlprompt writes with; None for what answers.
    """

    answers: Backbone | ChosenLLM
    writes: ChosenLLM | None
    judges: ChosenLLM | None = None
    policy: Backbone | None = None


def search_models(plan: SearchRecipe, progress: Progress | None = None) -> SearchModels:
    """Connect to a search's LLMs and load its models, each once.

    Raises:
        ConfigError: no key, no address, no price, or a model that does not write; a policy for
            another searcher than rlprompt.
        BackboneError, CatalogueError: a model that cannot be had.
    """
    budget = SearchBudget.parse(plan.budget)
    for each in plan.llms:
        check_model(each)
    _check_policy(plan)
    check_limits([each for each in (plan.solver, plan.llm) if each is not None], budget)
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
            model = _loaded(each.model, plan.recipe, loaded, progress)
            found[each.FLAG] = in_process(each, model)
    policy = None
    if plan.policy is not None:
        policy = _loaded(plan.policy, plan.recipe, loaded, progress)
        check_writes(policy, f"--policy {plan.policy}")
    answers = found.get(SolverRecipe.FLAG, backbone)
    assert answers is not None
    return SearchModels(answers, found.get(LLMRecipe.FLAG), found.get(JudgeRecipe.FLAG), policy)


def _check_policy(plan: SearchRecipe) -> None:
    if plan.policy is not None and plan.searcher != RLPROMPT:
        raise ConfigError(
            "no policy writes in this search",
            where="--policy",
            got=f"--searcher {plan.searcher}",
            expected=f"--searcher {RLPROMPT}",
        )


def _loaded(
    name: str, recipe: Recipe, loaded: dict[str, Backbone], progress: Progress | None
) -> Backbone:
    """A model in this process, with the precision and device of the recipe's backbone."""
    if name not in loaded:
        own = {"backbone": name, "adapter": None, "quantize": "none"}
        loaded[name] = recipe.model_copy(update=own).load_backbone(progress)
    return loaded[name]


def _endpoint(settings: LLMRecipe, budget: SearchBudget) -> ChosenLLM:
    if isinstance(settings, JudgeRecipe):  # which has a budget of its own
        return endpoint(settings, SearchBudget.parse(settings.budget), JUDGE_BUDGET)
    return endpoint(settings, budget)


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
