"""A backbone in this process as a search's solver: the answers of `evaluate`, counted and kept."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cuecard.engine.local.engine import LocalEngine
from cuecard.errors import ConfigError, DataError
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.evaluation.evaluate import evaluate
from cuecard.evaluation.loglikelihood import score_words
from cuecard.llms.scripted import ScriptedLLM
from cuecard.search.asker import Asker
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate, held_vectors, with_stop
from cuecard.search.journal import Journal
from cuecard.search.race import Racer, is_worse, race
from cuecard.search.scorer import RowScorer, Scorer
from cuecard.search.solver import EngineSolver, Judged, Likelihood, LLMSolver
from cuecard.tasks.encoding.tokens import plain_ids
from support.data.reviews import review_task, title_task
from support.tiny import shared_backbone, tiny_backbone


@pytest.mark.parametrize("make", [review_task, title_task])
@pytest.mark.parametrize("kind", ["llama", "t5-gated"])
def test_answers_and_scores_are_those_of_an_evaluation(make: Any, kind: str) -> None:
    task, backbone = make(24), tiny_backbone(kind)
    rows = task.train[:8]
    prompt = ManualPrompt("x", task.spec.template, "Read it.\n\n", demonstrations=task.train[8:10])
    spec = prompt.to_spec(task.spec, backbone.tokenizer, backbone.max_positions)
    wanted = evaluate(backbone, spec, rows)
    calls = Calls(Journal(None, ""), SearchBudget())

    async def ask() -> tuple[list[Judged], list[Judged]]:
        engine = LocalEngine(backbone)
        await engine.start()
        try:
            solver = EngineSolver(engine, "weights", task.spec, calls)
            first = await solver.judge(PromptCandidate(prompt), rows)
            # As journals of earlier versions have them, with scores that are left out.
            (key,) = calls.journal.answers
            calls.journal.answers[key] = [[answer, 0.5] for answer in calls.journal.answers[key]]
            return first, await solver.judge(PromptCandidate(prompt, "called otherwise"), rows)
        finally:
            await engine.close()

    found, again = asyncio.run(ask())
    assert [each.answer for each in found] == [p.answer.strip() for p in wanted.predictions]
    metric = "accuracy" if task.spec.labels else "rouge_l"
    assert [each.score for each in found] == pytest.approx(wanted.vectors[metric].tolist())
    assert again == found and calls.ledger.spent.calls == len(rows)
    encoded = [spec.encode(row, backbone.tokenizer) for row in rows]
    assert calls.ledger.spent.tokens >= sum(len(row.context) for row in encoded)


@pytest.mark.parametrize("kind", ["llama", "t5-gated"])
def test_an_answer_ends_at_the_tasks_stop(kind: str) -> None:
    task, backbone = title_task(24), shared_backbone(kind)
    rows, prompt = task.train[:4], ManualPrompt("x", task.spec.template)
    whole = [p.answer for p in evaluate(backbone, task.spec, rows).predictions]
    stop = whole[0][len(whole[0]) // 2]
    spec = task.spec.model_copy(update={"stop": stop})
    wanted = [p.answer for p in evaluate(backbone, spec, rows).predictions]
    assert wanted == [answer.split(stop)[0].strip() for answer in whole] != whole

    async def ask() -> list[Judged]:
        engine = LocalEngine(backbone)
        await engine.start()
        try:
            calls = Calls(Journal(None, ""), SearchBudget())
            solver = EngineSolver(engine, "weights", spec, calls)
            return await solver.judge(PromptCandidate(prompt), rows)
        finally:
            await engine.close()

    assert [each.answer for each in asyncio.run(ask())] == wanted
    llm = ScriptedLLM(lambda request: f"one{stop}two")
    asker = Asker(llm, Calls(Journal(None, ""), SearchBudget()))
    (told,) = asyncio.run(LLMSolver(asker, spec).judge(PromptCandidate(prompt), rows[:1]))
    assert told.answer == f"one{stop}two".split(stop)[0]


@pytest.mark.parametrize(
    ("targets", "stop"),
    [(("a", "b c "), "\n"), (("a\nb", "c"), "\n\n"), (("a\n\nb", "c"), None)],
)
def test_a_search_of_texts_stops_where_no_right_answer_goes_on(
    targets: tuple[str, str], stop: str | None
) -> None:
    task = title_task(24)
    rows = tuple(replace(row, target=targets[n % 2]) for n, row in enumerate(task.train))
    task = replace(task, train=rows)
    assert with_stop(task).spec.stop == stop
    own = replace(task, spec=task.spec.model_copy(update={"stop": "."}))
    chat = replace(task, spec=task.spec.model_copy(update={"chat": True}))
    for kept in (own, chat, review_task(24)):
        assert with_stop(kept) is kept


@pytest.mark.parametrize("make", [review_task, title_task])
@pytest.mark.parametrize("kind", ["llama", "t5-gated"])
def test_vectors_of_words_answer_as_the_words(make: Any, kind: str) -> None:
    task, backbone = make(24), shared_backbone(kind)
    rows, words = task.train[:6], "Read it.\n\n"
    vectors = backbone.embeddings[torch.tensor(plain_ids(backbone.tokenizer, words))]
    bare = ManualPrompt("x", task.spec.template)
    both = [
        PromptCandidate(replace(bare, instruction=words)),
        PromptCandidate(bare, soft=held_vectors(vectors)),
    ]
    assert len({each.key for each in (*both, PromptCandidate(bare))}) == 3
    assert both[1].key == PromptCandidate(bare, soft=held_vectors(vectors.clone())).key
    calls = Calls(Journal(None, ""), SearchBudget())

    async def ask() -> tuple[list[list[Judged]], list[list[Likelihood]]]:
        engine = LocalEngine(backbone)
        await engine.start()
        try:
            solver = EngineSolver(engine, "weights", task.spec, calls)
            judged = [await solver.judge(each, rows) for each in both]
            found = await solver.likelihoods(both, rows)
            assert await solver.likelihoods(both, rows) == found
            return judged, found
        finally:
            await engine.close()

    (words_judged, judged), (wanted, found) = asyncio.run(ask())
    assert judged == words_judged and calls.ledger.spent.calls == 4 * len(rows)
    assert [each.right for each in found] == pytest.approx([x.right for x in wanted], abs=1e-4)
    spec = both[0].prompt.to_spec(task.spec, backbone.tokenizer, backbone.max_positions)
    if not task.spec.labels:
        for row, each in zip(rows, found, strict=True):
            encoded = spec.encode(row, backbone.tokenizer)
            (sums,) = score_words(backbone, [encoded], [(encoded.target,)], None, 1, None, None)
            assert each.right == pytest.approx(sums[0] / len(encoded.target), abs=1e-4)
            assert each.other is None
        return
    told = evaluate(backbone, spec, rows).predictions
    for row, each, one in zip(rows, found, told, strict=True):
        right = one.probabilities[task.spec.label_of(row)]
        assert each.other is not None
        assert (math.exp(each.right), math.exp(each.other)) == pytest.approx(
            (right, 1 - right), abs=1e-5
        )


def test_what_was_answered_outlives_a_score_that_fails(tmp_path: Path) -> None:
    task, llm = title_task(24), ScriptedLLM(lambda request: "Title")
    rows, candidate = task.train[:6], PromptCandidate(ManualPrompt("x", task.spec.template))

    class Failing:
        name = "own:metric"

        async def scores(self, records: Any, answers: Any) -> list[float]:
            raise DataError("the score's function failed")

    def judge(scorer: Scorer) -> list[Judged]:
        calls = Calls(Journal(tmp_path / "journal.jsonl", "x"), SearchBudget())
        solver = LLMSolver(Asker(llm, calls), task.spec, scorer)
        return asyncio.run(solver.judge(candidate, rows))

    with pytest.raises(DataError, match="function failed"):
        judge(Failing())
    assert len(llm.requests) == len(rows)
    found = judge(RowScorer(task.spec, "regex:^T"))
    assert [(each.answer, each.score) for each in found] == [("Title", 1.0)] * 6
    assert len(llm.requests) == len(rows)


def test_a_candidate_without_room_is_refused() -> None:
    task, backbone = review_task(24), tiny_backbone()
    calls = Calls(Journal(None, ""), SearchBudget())
    solver = EngineSolver(LocalEngine(backbone), "weights", task.spec, calls)
    long = ManualPrompt("x", task.spec.template, "very " * 2000)
    with pytest.raises(ConfigError, match="leaves no room for a record"):
        solver.most(PromptCandidate(long), task.train[:1])


def racer(name: str, scores: str) -> Racer:
    prompt = ManualPrompt(name, "{text}", name)
    return Racer(PromptCandidate(prompt, name), [Judged("", float(score)) for score in scores])


def test_who_drops_out_of_a_race() -> None:
    best = racer("best", "1111111101")
    assert is_worse(racer("bad", "0010001000"), best, 0.05)
    assert not is_worse(racer("near", "1111011101"), best, 0.05)
    assert not is_worse(racer("even", "1111111101"), best, 0.5)
    assert is_worse(racer("all wrong", "0000000000"), racer("all right", "1111111111"), 1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_a_race_chooses_as_full_evaluation_does_with_two_fifths_of_its_calls(seed: int) -> None:
    accuracies = (0.8, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4)
    rng, rows = np.random.default_rng(seed), review_task(600).train[:300]
    right = {str(share): rng.random(len(rows)) < share for share in accuracies}
    place = {id(row): number for number, row in enumerate(rows)}
    calls = 0

    class Solver:
        async def judge(self, candidate: PromptCandidate, records: Any) -> list[Judged]:
            nonlocal calls
            calls += len(records)
            answers = right[candidate.origin]
            return [Judged("", float(answers[place[id(each)]])) for each in records]

        def most(self, candidate: PromptCandidate, records: Any) -> Any:
            raise NotImplementedError

    names = [str(accuracies[number]) for number in rng.permutation(len(accuracies))]
    racers = [Racer(PromptCandidate(ManualPrompt(name, "{text}", name), name)) for name in names]
    found = asyncio.run(race(racers, Solver(), rows, block=30))
    best = max(right, key=lambda name: right[name].sum())
    assert found[0].candidate.origin == best and len(found[0].answers) == len(rows)
    assert {each.candidate.origin for each in found} == set(right)
    assert calls <= 0.4 * len(rows) * len(right)
