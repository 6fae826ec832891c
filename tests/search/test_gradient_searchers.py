"""Searchers with gradients: losses of what is served, gradients that are right, and learning."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.search.budget import Amount, SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.journal import Journal
from cuecard.search.model import SearchModel
from cuecard.search.searcher import RunsModel, SearchState
from cuecard.search.searchers import SEARCHERS
from cuecard.search.searchers.gradient.fluency import Fluency
from cuecard.search.searchers.gradient.passes import TOP, Passes, swapped
from cuecard.search.searchers.gradient.trigger import Trigger, first_ids
from cuecard.search.settings import SearchSettings
from cuecard.tasks import TaskSpec
from cuecard.training.objective.loss import batch_loss
from cuecard.types import InputTokens
from support.data.reviews import LONG_SPEC, MASKED_SPEC, SPEC, TEXT_SPEC, review_task, title_task
from support.search_states import first_state
from support.tiny import shared_backbone

NAMES = tuple(name for name, entry in SEARCHERS.items() if "gradients" in entry.needs)
CHAT = SPEC.model_copy(update={"chat": True})
BACKBONES = (
    ("llama", SPEC),
    ("gpt2", LONG_SPEC),
    ("llama", CHAT),
    ("llama", TEXT_SPEC),
    ("t5-gated", SPEC),
    ("roberta", MASKED_SPEC),
)


def state_of(
    kind: str = "llama",
    spec: TaskSpec = SPEC,
    instruction: str = "Decide whether the film is good.",
    **settings: Any,
) -> SearchState:
    task = title_task() if spec is TEXT_SPEC else review_task(40, spec)
    text = f"{instruction}\n\n" if instruction else ""
    prompt = ManualPrompt("start", spec.template, text, chat=spec.chat)
    start = PromptCandidate(replace(prompt, demonstrations=task.train[:1]), "as it was")
    made = SearchSettings(step_rows=8, population=8, **settings)
    return first_state(shared_backbone(kind), spec, task.train[1:13], start, made)


def model_of(state: SearchState) -> SearchModel:
    assert state.model is not None
    return state.model


def trigger_in(state: SearchState, candidate: PromptCandidate) -> Trigger:
    return Trigger(candidate, state.spec, state.train, model_of(state))


@pytest.mark.parametrize(("kind", "spec"), BACKBONES)
def test_a_triggers_loss_is_that_of_the_prompt_with_its_text(kind: str, spec: TaskSpec) -> None:
    state = state_of(kind, spec)
    trigger, backbone = trigger_in(state, state.start), model_of(state).backbone
    for ids in (trigger.ids, (*trigger.ids[:-1], trigger.ids[0])):
        assert trigger.is_text(ids)
        prompt = trigger.candidate(ids, "x").prompt
        asked = prompt.to_spec(spec, backbone.tokenizer, backbone.max_positions)
        rows = [asked.encode(record, backbone.tokenizer) for record in state.train]
        loss_kind: Any = "labels" if spec.labels and spec.words != LONG_SPEC.words else "tokens"
        nothing = InputTokens(torch.zeros(0, backbone.hidden_size))
        loss, count = batch_loss(backbone, asked, rows, nothing, loss_kind)
        (found,) = model_of(state).losses(trigger.spec, trigger.rows, [trigger.vectors(ids)])
        assert found == pytest.approx(float(loss) / count, rel=1e-4)


@pytest.mark.parametrize(("kind", "spec"), [("llama", SPEC), ("t5-gated", SPEC)])
def test_swaps_are_among_the_best_to_first_order_and_texts(kind: str, spec: TaskSpec) -> None:
    state = state_of(kind, spec)
    passes = Passes.of(trigger_in(state, state.start), state.settings)
    trigger, ids = passes.trigger, passes.trigger.ids
    chosen = passes.draw(state.rng)
    _, gradient = passes.gradient(ids, chosen)
    table = model_of(state).backbone.embeddings
    swaps = asyncio.run(passes.swaps(ids, chosen, seed=0))
    assert len(set(swaps)) == len(swaps) == state.settings.population
    for swap in swaps:
        (place,) = (at for at, token in enumerate(swap) if token != ids[at])
        assert trigger.is_text(swap) and trigger.allowed[swap[place]]
        order = (table @ gradient[place]).masked_fill(~trigger.allowed, torch.inf).argsort()
        assert swap[place] in order[: TOP + 1]
    best = asyncio.run(passes.swaps(ids, chosen, seed=0, place=2))
    assert {swap[:2] + swap[3:] for swap in best} == {ids[:2] + ids[3:]}
    values = [float(table[swap[2]] @ gradient[2]) for swap in best]
    assert values == sorted(values)


def test_what_is_read_in_other_tokens_is_no_text() -> None:
    state = state_of()
    trigger, tokenizer = trigger_in(state, state.start), model_of(state).backbone.tokenizer
    apart = tuple(token for char in "good" for token in tokenizer.encode(char))
    assert len(apart) == 4 and not trigger.is_text((*apart, *trigger.ids[4:]))
    told = [tokenizer.decode([token]) for token in trigger.allowed.nonzero().flatten().tolist()]
    assert all(text.strip() and text.isprintable() for text in told)
    assert not {"<s>", "</s>", "<|end|>", "\n"} & set(told)


def test_what_was_found_is_kept_when_failed_calls_took_the_budget() -> None:
    state = state_of()
    searcher, ledger = SEARCHERS["gcg"].make(), state.calls.ledger
    assert isinstance(searcher, RunsModel)
    step = searcher.most(state, 1).calls
    ledger.budget, ledger.spent = SearchBudget(calls=2 * step), Amount(calls=step)
    (only,) = asyncio.run(searcher.propose(state, 4))
    assert only.key != state.start.key and state.calls.used.calls <= step


@pytest.mark.parametrize("kind", ["llama", "roberta"])
def test_the_gradient_of_fluency(kind: str) -> None:
    backbone = shared_backbone(kind)
    fluency, ids = Fluency(backbone), tuple(backbone.tokenizer.encode("the film is good"))
    ids = tuple(t for t in ids if t > 3)
    nll, gradient = fluency.gradient(ids)
    assert [nll, nll] == pytest.approx(fluency.of([ids, ids]), rel=1e-5)
    # The last word is read behind the others alone: the table has all that a swap changes.
    words, other = fluency.words(ids), swapped(ids, len(ids) - 1, 200)
    read = len(ids) if kind == "roberta" else len(ids) - 1
    change = float(words[-1, 200] - words[-1, ids[-1]]) / read
    if kind == "llama":
        assert float(gradient[-1].abs().max()) == 0
        assert fluency.of([other])[0] - nll == pytest.approx(change, rel=1e-3)
    table, at, step = backbone.embeddings, 1, 1e-2
    direction = torch.randn(table.shape[1], generator=torch.Generator().manual_seed(0))
    kept, found = table[ids[at]].clone(), []
    weight = backbone.model.get_input_embeddings().weight
    for sign in (1, -1):
        with torch.no_grad():
            weight[ids[at]] = kept + sign * step * direction
        found.append(fluency.gradient(ids)[0])
    with torch.no_grad():
        weight[ids[at]] = kept
    if not getattr(backbone.model.config, "tie_word_embeddings", False):
        slope = (found[0] - found[1]) / (2 * step)
        assert slope == pytest.approx(float(gradient[at] @ direction), rel=0.05)


@pytest.mark.parametrize(
    ("kind", "spec", "fluency"), [("llama", SPEC, 0.0), ("roberta", MASKED_SPEC, 0.1)]
)
@pytest.mark.parametrize("name", NAMES)
def test_a_searcher_lowers_the_training_loss(
    name: str, kind: str, spec: TaskSpec, fluency: float
) -> None:
    state, searcher = state_of(kind, spec, fluency=fluency), SEARCHERS[name].make()

    def loss(candidate: PromptCandidate) -> float:
        trigger = trigger_in(state, candidate)
        prompts = [trigger.vectors(trigger.ids)]
        return model_of(state).losses(trigger.spec, trigger.rows, prompts)[0]

    found: list[PromptCandidate] = []
    for number in range(2):
        again = replace(state, round=number)
        found += asyncio.run(searcher.propose(again, 4))
    assert len({each.key for each in found}) > 2
    assert min(map(loss, found)) < loss(state.start) - 0.05
    spent = state.calls.ledger.spent
    assert spent.calls > 0 and spent.tokens > 8 * spent.calls / 2


@pytest.mark.parametrize("tokens", [None, 3, 40])
def test_how_many_tokens_change(tokens: int | None) -> None:
    state = state_of(instruction="")
    tokenizer = model_of(state).backbone.tokenizer
    trigger = Trigger(state.start, SPEC, state.train, model_of(state), tokens)
    assert trigger.ids == first_ids("", tokens, tokenizer)[: len(trigger.ids)]
    assert len(trigger.ids) == tokens or tokens is None
    assert set(trigger.text(trigger.ids).split()) <= {"the", "th", "t"}


def test_what_has_no_gradients_is_refused() -> None:
    state = state_of("t5-gated", fluency=0.1)
    with pytest.raises(ConfigError, match="does not say how likely the words of its input are"):
        asyncio.run(SEARCHERS["gcg"].make().propose(state, 4))
    with pytest.raises(ConfigError, match="which only a backbone in this process has"):
        asyncio.run(SEARCHERS["pez"].make().propose(replace(state, model=None), 4))


def test_what_was_found_before_the_budget_was_spent_races() -> None:
    whole = state_of()
    found = asyncio.run(SEARCHERS["gcg"].make().propose(whole, 4))
    calls = Calls(Journal(None, ""), SearchBudget(calls=whole.calls.ledger.spent.calls - 1))
    short = replace(whole, calls=calls, model=SearchModel(shared_backbone(), calls))
    short = replace(short, rng=np.random.default_rng(0))
    again = asyncio.run(SEARCHERS["gcg"].make().propose(short, 4))
    assert [each.key for each in again] == [each.key for each in found[:-1]]
