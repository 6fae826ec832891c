"""The LLMs that a run asks: of endpoints elsewhere, or in this process."""

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
from cuecard.llms.openai_llm import KEY, OpenAILLM
from cuecard.llms.prices import Price, price_of
from cuecard.llms.protocol import LLM
from cuecard.names import load_backbone
from cuecard.runs.llm_recipe import LLMRecipe
from cuecard.search.asker import Asker
from cuecard.search.budget import USUAL, SearchBudget
from cuecard.search.calls import Calls
from cuecard.tasks.similar import nearest
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone


class Engines:
    """The engines of a run's backbones: one for each, started when it is first asked for.

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

    async def asker(self, chosen: ChosenLLM, calls: Calls, tell: Observer | None = None) -> Asker:
        """An LLM as a search asks it; errors as in `llm`."""
        return Asker(await self.llm(chosen), calls, chosen.price, tell=tell)


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


def in_process(settings: LLMRecipe, backbone: Backbone) -> ChosenLLM:
    """A model in this process, which costs what its settings say."""
    price = None if settings.price is None else Price(*settings.price)
    return ChosenLLM(settings, price, backbone)


def connect(
    settings: LLMRecipe,
    budget: SearchBudget,
    where: str = USUAL,
    progress: Progress | None = None,
) -> ChosenLLM:
    """A run's only LLM: connect to its endpoint, or load it.

    Args:
        budget: what may be spent on it.
        where: the flag that gives the budget, for messages.

    Raises:
        ConfigError: no key, no address, no price, a model that does not write, or a budget of
            money alone for one that costs none.
        BackboneError, CatalogueError: a model that cannot be had.
    """
    check_model(settings)
    check_limits([settings], budget, where)
    if not settings.is_here:
        return endpoint(settings, budget, where)
    return in_process(settings, load_backbone(settings.model, progress=progress))


def endpoint(settings: LLMRecipe, budget: SearchBudget, where: str = USUAL) -> ChosenLLM:
    """A model of an endpoint.

    Args:
        budget: what may be spent on it.
        where: the flag that gives the budget, for messages.

    Raises:
        ConfigError: no key, no address, or no price where money is limited.
    """
    url_flag = f"{settings.PREFIX}-url"
    price = price_of(settings.model) if settings.price is None else Price(*settings.price)
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
    client = OpenAILLM(
        settings.model,
        settings.url,
        seconds=settings.seconds,
        at_once=settings.at_once,
        flag=url_flag,
    )
    return ChosenLLM(settings, price, client)


def check_limits(asked: Sequence[LLMRecipe], budget: SearchBudget, where: str = USUAL) -> None:
    """Refuse a budget of money alone where none of the LLMs costs any: it would never end.

    Raises:
        ConfigError: so it is.
    """
    if asked and not all(each.is_here and each.price is None for each in asked):
        return
    if budget.money is not None and budget == SearchBudget(money=budget.money):
        raise ConfigError(
            "nothing here costs money, so this budget would never end",
            where=where,
            got=budget.text("money"),
            expected="calls, tokens or time, such as '2000 calls'",
        )


def check_model(settings: LLMRecipe) -> None:
    """Refuse a folder that is not there, and a model that does not write.

    Raises:
        ConfigError: one of them.
    """
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
