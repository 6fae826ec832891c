"""Searchers that read likelihoods: they keep a searcher's promises; what is fitted is right."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cuecard.engine.local.engine import LocalEngine
from cuecard.errors import ConfigError
from cuecard.evaluation import predict
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.evaluation.calibration import fitted_prior
from cuecard.evaluation.evaluate import evaluate
from cuecard.evaluation.loglikelihood import score_words
from cuecard.search.budget import Amount, SearchBudget
from cuecard.search.calls import CallAnswer, Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.found import Found
from cuecard.search.journal import FILE, Journal
from cuecard.search.loop import Search
from cuecard.search.model import SearchModel
from cuecard.search.searchers import SEARCHERS, at_hand
from cuecard.search.searchers.fitted.chosen_records import text_vectors
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import EngineSolver
from cuecard.tasks import Task
from support.data.reviews import SPEC, review_task
from support.tiny import shared_backbone

FITTED = ("calibration", "label-words")
SETTINGS = SearchSettings(rows=20, proposals=4, rounds=3, finalists=2, block=10)
SHOWING = [SETTINGS.model_copy(update={"show": way}) for way in ("typical", "diverse")]
# With how likely each of their many calls ends the process.
BLACK_BOX = {"rlprompt": 0.04, "bbt": 0.3}
SMALL = SETTINGS.model_copy(
    update={"rounds": 2, "population": 4, "step_rows": 4, "written_tokens": 2}
)
# Words in front of which the untrained model leans to one label.
START = PromptCandidate(
    ManualPrompt("start", "Review: {text}\nSentiment:", "Read it.\n\n"), "start"
)


class Killed(BaseException):
    """The process ends here."""


class Dying(Calls):
    """Calls of which some end the process, before they are made or after."""

    draw: random.Random | None = None
    deaths = 0.5

    async def make(self, key: str, model: str, reserved: Amount, run: Any) -> Any:
        async def dying() -> CallAnswer:
            if self.draw is not None and self.draw.random() < self.deaths:
                raise Killed
            found: CallAnswer = await run()
            return found

        return await super().make(key, model, reserved, dying)


def search(
    name: str,
    folder: Path | None = None,
    draw: random.Random | None = None,
    budget: SearchBudget | None = None,
    settings: SearchSettings = SETTINGS,
    start: PromptCandidate = START,
    task: Task | None = None,
) -> Found:
    task, backbone = task or replace(review_task(100), test=()), shared_backbone("llama")
    calls = Dying(
        Journal(None if folder is None else folder / FILE, name), budget or SearchBudget()
    )
    calls.draw = draw

    async def run() -> Found:
        engine = LocalEngine(backbone)
        await engine.start()
        try:
            solver = EngineSolver(engine, "weights", task.spec, calls)
            searcher, model = SEARCHERS[name].make(), SearchModel(backbone, calls)
            made = Search(task, start, searcher, solver, calls, settings, model=model)
            return await made.run()
        finally:
            await engine.close()

    return asyncio.run(run())


def told(found: Found) -> Any:
    ranked = [(racer.candidate.to_dict(), racer.score) for racer in found.ranked]
    return found.best.to_dict(), ranked, found.rounds, found.ended


@pytest.mark.parametrize(
    ("name", "settings"),
    [(name, SETTINGS) for name in FITTED]
    + [("label-words", SETTINGS.model_copy(update={"words_by": "probe"}))]
    + [("demonstrations", each) for each in SHOWING]
    + [(name, SMALL) for name in BLACK_BOX],
)
def test_what_reads_a_backbone_keeps_a_searchers_promises(
    name: str, settings: SearchSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dying, "deaths", BLACK_BOX.get(name, 0.5))
    found = search(name, tmp_path, settings=settings)
    again = search(name, settings=settings)
    assert told(found) == told(again) and len(found.ranked) > 3
    own = next(r for r in found.finals if r.candidate.key == START.key)
    best = next(r for r in found.finals if r.candidate.key == found.best.key)
    assert best.score >= own.score
    other = search(name, settings=settings.model_copy(update={"seed": 1}))
    assert told(other)[1] != told(found)[1]
    journal = (tmp_path / FILE).read_bytes()
    assert told(search(name, tmp_path, settings=settings)) == told(found)
    assert (tmp_path / FILE).read_bytes() == journal
    draw, kills = random.Random(0), 0
    while True:
        try:
            resumed = search(name, tmp_path / "killed", draw, settings=settings)
            break
        except Killed:
            kills += 1
    assert kills and told(resumed) == told(found)
    budget = SearchBudget(calls=found.spent.calls - 30)
    assert search(name, budget=budget, settings=settings).spent.calls <= found.spent.calls - 30


def test_calibration_takes_off_what_was_fitted_to_rows_that_nobody_raced_on() -> None:
    task, backbone = replace(review_task(100), test=()), shared_backbone("llama")
    found = search("calibration", task=task)
    made = {r.candidate.origin: r for r in found.ranked}
    racer = made["start, fitted"]
    assert set(made) >= {"start", "start, fitted", "start, batch-calibrated", "start, content-free"}
    spec = START.to_spec(task.spec, backbone.tokenizer, backbone.max_positions)
    raced = {str(a.answer) for a in racer.answers}
    assert raced <= set(task.spec.labels)
    # 32 of the rows that may be shown: their scores with these numbers taken off lean nowhere.
    prior = racer.candidate.prior
    assert prior is not None and set(prior) == set(task.spec.labels)
    whole = fitted_prior(
        predict.predict(backbone, spec, task.train), [str(r.target) for r in task.train]
    )
    for label in task.spec.labels:
        assert prior[label] == pytest.approx(whole[label], abs=0.3)
    held = evaluate(backbone, spec, task.validation, prior=prior)
    final = next((r for r in found.finals if r.candidate.key == racer.candidate.key), None)
    if final is not None:
        assert final.score == pytest.approx(held.metrics["accuracy"])


def test_label_words_are_the_likeliest_on_rows_of_their_own() -> None:
    task, backbone = replace(review_task(100), test=()), shared_backbone("llama")
    found = search("label-words", task=task)
    made = [r.candidate for r in found.ranked if r.candidate.key != START.key]
    assert len(made) == len({str(each.prompt.words) for each in made}) >= 8

    def likelihood(candidate: PromptCandidate) -> float:
        """Of the training rows' own labels, among the words."""
        spec = candidate.to_spec(task.spec, backbone.tokenizer, backbone.max_positions)
        words = spec.label_words(backbone.tokenizer)
        rows = [spec.encode(row, backbone.tokenizer) for row in task.train]
        sums = score_words(backbone, rows, [words.words] * len(rows), None, 16, None, None)
        logs = torch.tensor(sums).log_softmax(1)
        gold = [spec.labels.index(str(row.target)) for row in task.train]
        return float(logs[range(len(gold)), gold].mean())

    for each in made:
        assert each.prompt.words is not None
        assert set(each.prompt.words) == set(task.spec.labels)
        assert len({word.casefold() for word in each.prompt.words.values()}) == 2
    first = [each for each in made if each.origin.startswith("label words")]
    assert max(map(likelihood, first)) > likelihood(START)


def test_records_are_chosen_by_their_vectors() -> None:
    task, backbone = replace(review_task(200), test=()), shared_backbone("llama")
    known = dict(
        zip(
            [record.texts["text"] for record in task.train],
            text_vectors(backbone, [record.texts["text"] for record in task.train]),
            strict=True,
        )
    )

    def vectors(records: Any) -> torch.Tensor:
        return torch.stack([known[record.texts["text"]] for record in records])

    def apart(settings: SearchSettings) -> tuple[float, float]:
        """How near shown records are to their label's mean, and to the nearest of each other."""
        found = search("demonstrations", settings=settings, task=task)
        shown = [r.candidate.prompt.demonstrations for r in found.ranked]
        near, between = [], []
        for label in task.spec.labels:
            mean = vectors([row for row in task.train if row.target == label]).mean(0)
            for each in shown:
                own = vectors([row for row in each if row.target == label]) if each else []
                if len(own) >= 2:
                    near.append(float((own @ mean).mean()))
                    between.append(float((own @ own.T - 9 * torch.eye(len(own))).max()))
        return sum(near) / len(near), sum(between) / len(between)

    (random_near, random_between), typical, diverse = map(apart, [SETTINGS, *SHOWING])
    assert typical[0] > random_near and diverse[1] < random_between


def test_vectors_need_a_backbone() -> None:
    task = review_task(60)
    state: Any = SimpleNamespace(
        spec=task.spec, train=task.train, settings=SHOWING[0], model=None, round=0, best=START
    )
    with pytest.raises(ConfigError, match="by vectors of a backbone in this process"):
        asyncio.run(SEARCHERS["demonstrations"].make().propose(state, 2))


def test_a_mask_is_refused() -> None:
    masked = SPEC.model_copy(update={"template": "Review: {text}\nSentiment: {mask}."})
    state: Any = SimpleNamespace(spec=masked, settings=SETTINGS)
    with pytest.raises(ConfigError, match="not by what stands at a mask"):
        asyncio.run(SEARCHERS["label-words"].make().propose(state, 2))


def test_texts_have_no_labels_to_fit() -> None:
    has = at_hand(llm=True, labels=False)
    for name in FITTED:
        assert SEARCHERS[name].missing(has) == "a task with labels, told by their words"
