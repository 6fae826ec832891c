"""Label words by a probe: it finds words that were made right, and reads what the head does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.search.candidate import PromptCandidate
from cuecard.search.race import Racer
from cuecard.search.searcher import SearchState
from cuecard.search.searchers import SEARCHERS
from cuecard.search.searchers.fitted.label_probe import probe_scores, read_at_head
from cuecard.search.settings import SearchSettings
from cuecard.tasks import TaskSpec
from cuecard.tasks.encoding.bound import bind
from cuecard.tasks.encoding.tokens import continuation_ids
from support.data.reviews import MASKED_SPEC, SPEC, TEXT_SPEC, review_task
from support.search_states import first_state
from support.tiny import tiny_backbone

CASES = [("llama", SPEC), ("gpt2", SPEC), ("roberta", MASKED_SPEC), ("t5-gated", SPEC)]


def state_of(backbone: Any, spec: TaskSpec, **settings: Any) -> SearchState:
    task = review_task(80, SPEC if spec is TEXT_SPEC else spec)
    start = PromptCandidate(ManualPrompt("start", spec.template, "Judge it.\n\n"), "as it was")
    made = SearchSettings(step_rows=4, population=4, **settings)
    return first_state(backbone, spec, task.train, start, made)


def read(backbone: Any, state: SearchState) -> tuple[Any, Any, list[int], set[int]]:
    """What the head gives and takes in on training rows, their labels, and all their tokens."""
    spec = state.start.to_spec(state.spec, backbone.tokenizer, backbone.max_positions)
    rows = [spec.encode(replace(row, target=None), backbone.tokenizer) for row in state.train]
    gold = [spec.labels.index(str(row.target)) for row in state.train]
    with torch.inference_mode():
        logs, states = read_at_head(backbone, rows, None)
    return logs, states, gold, {token for row in rows for token in row.context}


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_the_probe_finds_the_words_that_were_made_right(kind: str, spec: TaskSpec) -> None:
    backbone = tiny_backbone(kind)
    state, head = state_of(backbone, spec, words_by="probe"), backbone.model.get_output_embeddings()
    logs, states, gold, used = read(backbone, state)
    bias = getattr(head, "bias", None)
    logits = functional.linear(states, head.weight, bias).double()
    assert torch.allclose(logits.log_softmax(-1), logs, atol=1e-4)

    bad, good = own_words(backbone, spec, used)
    apart, size = direction(states, gold), 2 * float(head.weight.norm(dim=1).mean())
    with torch.no_grad():
        for word, sign in ((bad, -1), (good, 1)):
            (token,) = continuation_ids(backbone.tokenizer, word, after_space(backbone, spec))
            head.weight[token] = sign * size * apart
    found = asyncio.run(SEARCHERS["label-words"].make().propose(state, 100))
    told = [each.prompt.words for each in found]
    assert {"negative": bad, "positive": good} in told
    # Not by chance: such words are not found before they are made.
    plain = state_of(tiny_backbone(kind), spec, words_by="probe")
    others = asyncio.run(SEARCHERS["label-words"].make().propose(plain, 100))
    assert {"negative": bad, "positive": good} not in [each.prompt.words for each in others]


def direction(states: Any, gold: list[int]) -> Any:
    """[H] of length one: by ridge regression, where states of the two labels are farthest apart."""
    centred, signs = states - states.mean(0), 2 * torch.tensor(gold).float() - 1
    spread = centred.T @ centred
    spread += 0.1 * spread.diagonal().mean() * torch.eye(len(spread))
    return functional.normalize(torch.linalg.solve(spread, centred.T @ signs), dim=0)


def after_space(backbone: Any, spec: TaskSpec) -> bool:
    return bind(spec, backbone.tokenizer).encoder.after_space


def own_words(backbone: Any, spec: TaskSpec, used: set[int]) -> list[str]:
    """Two words of one token that no row has."""
    found: list[str] = []
    for token in range(backbone.vocab_size):
        word = str(backbone.tokenizer.decode([token])).strip()
        alone = continuation_ids(backbone.tokenizer, word, after_space(backbone, spec)) == (token,)
        if token not in used and word.isalpha() and len(word) > 1 and alone:
            found.append(word)
    return found[-2:]


def test_log_odds_of_more_than_two_labels() -> None:
    draw = torch.Generator().manual_seed(0)
    centres = 3 * torch.eye(4)[:3]
    gold = [number % 3 for number in range(60)]
    states = centres[gold] + 0.3 * torch.randn(60, 4, generator=draw)
    scores = probe_scores(states, gold, torch.cat([centres, -centres]))
    assert scores.shape == (3, 6)
    assert scores.argmax(0)[:3].tolist() == [0, 1, 2] and scores.argmax(1).tolist() == [0, 1, 2]
    odds = scores.sigmoid().sum(0)  # probabilities of the labels of each word
    assert torch.allclose(odds, torch.ones_like(odds), atol=1e-6)
    two = probe_scores(states[:20], [number % 2 for number in range(20)], centres)
    assert torch.allclose(two[0], -two[1])


def test_autoprompt_begins_with_a_round_of_words() -> None:
    backbone = tiny_backbone()
    state = state_of(backbone, SPEC, words_by="probe", trigger_tokens=3)
    searcher = SEARCHERS["autoprompt"].make()
    first = asyncio.run(searcher.propose(state, 3))
    assert len(first) == 3 and all(each.prompt.words for each in first)
    assert {each.prompt.instruction for each in first} == {state.start.prompt.instruction}
    won = replace(state, ranked=[Racer(first[0]), Racer(state.start)], round=1)
    later = asyncio.run(searcher.propose(won, 8))
    assert later and {str(each.prompt.words) for each in later} == {str(first[0].prompt.words)}
    plain = asyncio.run(SEARCHERS["autoprompt"].make().propose(state_of(backbone, SPEC), 8))
    assert all(each.prompt.words is None for each in plain)
    titles = state_of(backbone, TEXT_SPEC, words_by="probe")
    with pytest.raises(ConfigError, match="a task without labels has no words for them"):
        asyncio.run(SEARCHERS["autoprompt"].make().propose(titles, 3))
