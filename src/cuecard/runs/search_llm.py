"""The LLMs that a search asks: of endpoints elsewhere, or in this process."""

from __future__ import annotations

import os
from dataclasses import dataclass

from cuecard.catalogue import Progress
from cuecard.catalogue.entries import BACKBONES
from cuecard.engine.chat_llm import EngineLLM
from cuecard.engine.local.engine import LocalEngine
from cuecard.errors import ConfigError
from cuecard.llms.openai_llm import KEY, OpenAILLM
from cuecard.llms.prices import Price, price_of
from cuecard.llms.protocol import LLM
from cuecard.runs.recipe import Recipe
from cuecard.runs.search_recipe import LLMRecipe
from cuecard.search.budget import SearchBudget
from cuecard.tasks.similar import nearest
from cuecard.types import Backbone


class Engines:
    """The engines of a search's backbones: one for each, started when it is first asked for."""

    def __init__(self) -> None:
        self._started: list[tuple[Backbone, LocalEngine]] = []

    async def of(self, backbone: Backbone) -> LocalEngine:
        """The engine of a backbone."""
        for known, engine in self._started:
            if known is backbone:
                return engine
        engine = LocalEngine(backbone)
        await engine.start()
        self._started.append((backbone, engine))
        return engine

    async def close(self) -> None:
        """End them all."""
        for _, engine in self._started:
            await engine.close()


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

    async def llm(self, engines: Engines) -> LLM:
        """What is asked; to be closed.

        Raises:
            ConfigError: a model that cannot be asked.
        """
        if isinstance(self.model, OpenAILLM):
            return self.model
        engine = await engines.of(self.model)
        return EngineLLM(engine, self.settings.model, at_once=self.settings.at_once)

    @property
    def identity(self) -> list[str | None]:
        """What its answers depend on beside what it is asked."""
        if isinstance(self.model, OpenAILLM):
            return [self.settings.model, self.settings.url]
        return [self.settings.model, self.model.fingerprint.weights]


def choose_llm(
    settings: LLMRecipe,
    recipe: Recipe,
    budget: SearchBudget,
    *,
    flag: str = "--llm",
    answering: Backbone | None = None,
    progress: Progress | None = None,
) -> ChosenLLM:
    """Connect to an LLM, or load it.

    Args:
        recipe: says in which precision and on which device a model in this process runs.
        budget: one of money needs a price.
        flag: what it was chosen by, for messages.
        answering: the backbone that answers the task, which may be the same model.

    Raises:
        ConfigError: no key, no address, no price, or a model that does not write.
        BackboneError, CatalogueError: a model that cannot be had.
    """
    if settings.is_here:
        return ChosenLLM(
            settings,
            Price(*settings.price) if settings.price is not None else None,
            _loaded(settings, recipe, flag, answering, progress),
        )
    price = _price(settings, budget, flag)
    near = nearest(settings.model, BACKBONES)
    if settings.url is None and KEY not in os.environ and near is not None:
        raise ConfigError(
            "the catalogue has no such model",
            where=f"{flag} {settings.model}",
            expected=f"its name, a folder, or {flag}-url with an endpoint's address",
            hint=near,
        )
    endpoint = OpenAILLM(
        settings.model, settings.url, seconds=settings.seconds, at_once=settings.at_once
    )
    return ChosenLLM(settings, price, endpoint)


def _loaded(
    settings: LLMRecipe,
    recipe: Recipe,
    flag: str,
    answering: Backbone | None,
    progress: Progress | None,
) -> Backbone:
    entry = BACKBONES.get(settings.model)
    if entry is not None and entry.family != "causal":
        writers = [name for name, each in BACKBONES.items() if each.family == "causal"]
        raise ConfigError(
            "this model of the catalogue does not write",
            where=f"{flag} {settings.model}",
            expected=", ".join(writers),
        )
    if settings.model == recipe.backbone and recipe.adapter is None and answering is not None:
        return answering
    own = {"backbone": settings.model, "adapter": None, "quantize": "none"}
    return recipe.model_copy(update=own).load_backbone(progress)


def _price(settings: LLMRecipe, budget: SearchBudget, flag: str) -> Price | None:
    if settings.price is not None:
        return Price(*settings.price)
    found = price_of(settings.model)
    if found is None and budget.money is not None:
        raise ConfigError(
            "a budget of money needs the model's price, which is not known",
            where="--search-budget" if flag == "--llm" else flag.replace("-llm", "-budget"),
            got=settings.model,
            expected=f"{flag}-price READ,WRITTEN, in dollars for a million tokens",
        )
    return found
