"""The models of a search."""

from __future__ import annotations

from dataclasses import dataclass

from cuecard.catalogue import Progress
from cuecard.errors import ConfigError
from cuecard.runs.llm_recipe import LLMRecipe
from cuecard.runs.llms import ChosenLLM, check_limits, check_model, endpoint, in_process
from cuecard.runs.recipe import Recipe
from cuecard.runs.search.recipe import JudgeRecipe, SearchRecipe, SolverRecipe
from cuecard.search.budget import SearchBudget
from cuecard.search.judge import FLAG as JUDGE_BUDGET
from cuecard.search.searchers import RLPROMPT
from cuecard.search.searchers.black_box.rlprompt import check_writes
from cuecard.types import Backbone


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
