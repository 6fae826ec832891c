"""Searchers that see answers alone: their formulas, and that they find what there is to find."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cuecard.engine.local.engine import LocalEngine
from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.found import Found
from cuecard.search.journal import Journal
from cuecard.search.loop import Search
from cuecard.search.model import SearchModel
from cuecard.search.searchers import SEARCHERS
from cuecard.search.searchers.black_box.policy import TokenPolicy, path_loss
from cuecard.search.searchers.black_box.rlprompt import allowed_tokens, reward, z_scores
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import EngineSolver, Likelihood
from cuecard.tasks import Task, TaskSpec
from support.data.reviews import MASKED_SPEC, SPEC, review_task, reviews, title_task
from support.tiny import shared_backbone

# Words in front of which the untrained model is wrong of most reviews.
INSTRUCTION = "Shout, decide, review.\n\n"
SETTINGS = SearchSettings(rows=30, proposals=4, rounds=2, finalists=2, block=15)


def search(
    name: str,
    instruction: str = INSTRUCTION,
    kind: str = "llama",
    task: Task | None = None,
    policy: str | None = None,
    budget: SearchBudget | None = None,
    **more: Any,
) -> Found:
    task, backbone = task or review_task(120), shared_backbone(kind)
    start = PromptCandidate(ManualPrompt("start", task.spec.template, instruction), "start")
    calls = Calls(Journal(None, name), budget or SearchBudget())
    settings = SETTINGS.model_copy(update=more)

    async def run() -> Found:
        engine = LocalEngine(backbone)
        await engine.start()
        try:
            solver, made = EngineSolver(engine, "weights", task.spec, calls), SEARCHERS[name].make()
            model = SearchModel(backbone, calls)
            writes = None if policy is None else SearchModel(shared_backbone(policy), calls)
            own, options = replace(task, test=()), {"model": model, "policy": writes}
            return await Search(own, start, made, solver, calls, settings, **options).run()
        finally:
            await engine.close()

    return asyncio.run(run())


def gain(found: Found) -> float:
    own = next(r for r in found.finals if r.candidate.origin == "start")
    return max(r.score for r in found.finals) - own.score


def test_vectors_are_found_by_which_a_model_tells_good_from_bad() -> None:
    found = search("bbt", population=10, step_rows=16)
    assert gain(found) > 0.2 and found.best.soft is not None and not found.best.prompt.instruction


def test_words_are_found_in_front_of_which_a_model_is_right_more_often() -> None:
    # Untrained, the model says "positive" after most words, and not after these.
    rows = [row for n, row in enumerate(reviews(150)) if n % 2 or n % 10 == 0]
    task = Task.from_records(SPEC, rows, split=(0.6, 0.2, 0.2))
    small = {"rounds": 1, "population": 4, "step_rows": 4}
    found = search("rlprompt", "*} grea .l\n\n", task=task, **small)
    assert gain(found) > 0.2 and found.best.soft is None
    assert found.best.prompt.instruction.endswith("\n\n")


@pytest.mark.parametrize(
    ("name", "calls"), [("bbt", 50), ("rlprompt", 130), ("gcg", 50), ("autoprompt", 50)]
)
def test_what_a_round_finds_races_before_the_budget_is_spent(name: str, calls: int) -> None:
    """Beside the start, the finals and a race it pays for two steps, not for a whole round."""
    rows, validation = 30, len(review_task(120).validation)
    most = rows + validation + 2 * validation + 4 * rows + calls
    small = {"population": 4, "step_rows": 4, "proposals": 4}
    found = search(name, budget=SearchBudget(calls=most), **small)
    assert len(found.ranked) > 1 and found.spent.calls <= most


@pytest.mark.parametrize(("name", "kind"), [("bbt", "llama"), ("rlprompt", "gpt2")])
def test_texts_and_starts_without_words(name: str, kind: str) -> None:
    found = search(name, "", kind, title_task(), rounds=1, population=4, step_rows=4)
    made = [r.candidate for r in found.ranked if r.candidate.origin != "start"]
    assert made and {each.vectors for each in made} == {50 if name == "bbt" else 0}


def test_a_policy_is_a_causal_language_model() -> None:
    with pytest.raises(ConfigError, match="is a causal language model"):
        search("rlprompt", kind="t5-gated")
    with pytest.raises(ConfigError, match="is a causal language model"):
        search("rlprompt", policy="t5-gated")


@pytest.mark.parametrize(
    ("kind", "spec", "policy"),
    [("roberta", MASKED_SPEC, "llama"), ("t5-gated", SPEC, "gpt2"), ("llama", SPEC, "gpt2")],
)
def test_another_model_writes_in_tokens_of_its_own(
    kind: str, spec: TaskSpec, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, writer, written = TokenPolicy.write, shared_backbone(policy), set[str]()

    def seen(self: TokenPolicy, *args: Any) -> Any:
        prompts = write(self, *args)
        assert self._backbone is writer and {len(ids) for ids in prompts} == {3}
        written.update(writer.tokenizer.decode(list(ids)).strip() for ids in prompts)
        return prompts

    monkeypatch.setattr(TokenPolicy, "write", seen)
    small = {"rounds": 1, "population": 4, "step_rows": 4, "written_tokens": 3}
    found = search("rlprompt", "", kind, review_task(60, spec), policy, **small)
    made = [r.candidate.prompt.instruction.strip() for r in found.ranked if r.candidate.length]
    assert len(written) > 8 and len(set(made) - {""}) == 4 and set(made) - {""} <= written


def test_vectors_begin_at_the_starts_words_and_step_as_far_as_inputs_are_large() -> None:
    found = search("bbt", rounds=1, population=4, step_rows=4)
    words = shared_backbone().tokenizer(INSTRUCTION, add_special_tokens=False)["input_ids"]
    p0 = shared_backbone().embeddings[torch.tensor(words)].float()
    soft = [r.candidate.soft for r in found.ranked if r.candidate.soft is not None]
    moved: list[Any] = [each.injection for each in soft]
    steps = torch.stack([each.vectors - p0 for each in moved])
    size = float(shared_backbone().typical_inputs.float().std())
    # Five generations of four, each of which moves the mean by about a step.
    assert size < float(steps.std()) < 4 * size


def test_rewards() -> None:
    likely = [Likelihood(np.log(0.7), np.log(0.3)), Likelihood(np.log(0.4), np.log(0.6))]
    assert reward(likely) == pytest.approx((200 * 0.4 - 180 * 0.2) / 2)
    assert reward([Likelihood(np.log(0.25), None)]) == pytest.approx(50)
    assert z_scores([1.0, 2.0, 3.0]) == pytest.approx([-5 * 1.5**0.5, 0, 5 * 1.5**0.5])
    assert z_scores([2.0, 2.0]) == [0, 0]


def test_the_path_loss_is_zero_where_the_policy_is_consistent() -> None:
    # Q of every path of two tokens from two, by soft Bellman backups of its reward.
    rewards = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    first = rewards.logsumexp(1)
    values = torch.stack([first.logsumexp(0).expand(2, 2), first[:, None].expand(2, 2)], -1)
    q = torch.stack([first[:, None].expand(2, 2), rewards], -1)
    advantages = (q - values).reshape(4, 2)
    flat = values.reshape(4, 2)
    assert float(path_loss(advantages, flat, rewards.reshape(4))) == pytest.approx(0, abs=1e-10)
    # By hand for one path: A = (1, 2), V' = (3, 4), r = 5.
    loss = path_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([5.0]))
    steps, left = ((1 - 1) ** 2 + (2 - 1) ** 2) / 2, ((3 - 2) ** 2 + (2 - 1) ** 2) / 2
    assert float(loss) == pytest.approx((steps + left) / 2)


def test_a_policy_learns_what_is_rewarded_and_writes_what_may_be_written() -> None:
    backbone = shared_backbone()
    allowed = allowed_tokens(backbone)
    good = set(torch.nonzero(allowed).flatten()[::10].tolist())
    policy = TokenPolicy(backbone, allowed, 0, 3e-3)
    means = []
    for step in range(40):
        prompts = policy.write(16, 3, step)
        assert step or policy.write(16, 3, step) == prompts
        assert all(allowed[token] for ids in prompts for token in ids)
        rewards = [float(sum(token in good for token in ids)) for ids in prompts]
        means.append(float(np.mean(rewards)))
        policy.learn(prompts, z_scores(rewards))
    assert np.mean(means[-10:]) > 1.5 * np.mean(means[:10])
