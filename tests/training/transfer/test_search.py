"""Which saved prompt a new task starts from: the choice, the budget, and a resumed search."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cuecard.artifacts.nearest import similarity
from cuecard.cli.views.event_text import event_text
from cuecard.errors import ConfigError, TrainingError
from cuecard.methods import ATTEMPT, MPT, PromptTuning
from cuecard.tasks import Task
from cuecard.training import TrainConfig
from cuecard.training.train import train
from cuecard.training.transfer.found import JSON, USUAL, TransferFound, TriedStart
from cuecard.training.transfer.search import TransferSearch
from cuecard.training.transfer.settings import TransferConfig
from cuecard.training.transfer.sources import MIX, SourcePrompt
from support.data.reviews import SPEC, review_task, reviews, title_task
from support.dying import Killed, counted
from support.tiny import tiny_backbone

TASK = review_task(60)
USUAL_METHOD = PromptTuning(length=4, init="random")
CONFIG = TrainConfig(steps=40, batch_rows=8, lr=0.02, checkpoint_every=2)
SEARCH = TransferConfig(sources=2, search_steps=4)


def start(vectors: Tensor, **options: Any) -> SourcePrompt:
    return SourcePrompt(PromptTuning(init="prompt", prompt=vectors), **options)


def drawn(seed: int, length: int = 4) -> Tensor:
    return torch.randn(length, 32, generator=torch.Generator().manual_seed(seed)) * 0.02


@pytest.fixture(scope="module")
def learnt() -> Tensor:
    """Vectors that answer the task, trained on rows of other texts."""
    task = Task.from_records(SPEC, reviews(120, seed=7), split=(0.6, 0.2, 0.2))
    config = CONFIG.model_copy(update={"steps": 120})
    return train(tiny_backbone(), task, USUAL_METHOD, config).prompt.vectors


def search(
    sources: dict[str, SourcePrompt], folder: Path | None = None, **options: Any
) -> TransferFound:
    found = TransferSearch(
        options.pop("backbone", None) or tiny_backbone(),
        options.pop("task", TASK),
        USUAL_METHOD,
        sources,
        options.pop("config", CONFIG),
        options.pop("search", SEARCH),
        folder=folder,
        **options,
    )
    return found.run()


def test_what_was_learnt_elsewhere_is_found(learnt: Tensor) -> None:
    sources = {"noise": start(drawn(1)), "reviews": start(learnt), "more": start(drawn(2, 9))}
    found = search(sources, search=SEARCH.model_copy(update={"sources": 1}))
    assert found.chosen == found.best == "reviews" and found.saved is not None
    assert found.usual is not None and found.saved > found.usual
    assert [one.name for one in found.starts][:2] == [USUAL, "reviews"]
    trained = {one.name for one in found.starts if one.loss is not None}
    assert trained == {USUAL, "reviews"}  # one saved prompt is trained, and it is the best one
    assert "reviews" in found.text


def test_the_nearest_is_tried_and_not_the_last(learnt: Tensor) -> None:
    """One place goes to the best score, the next to the nearest, by the cosine of the means."""
    short = CONFIG.model_copy(update={"steps": 4, "eval_every": 4, "warmup": 1})
    near = train(tiny_backbone(), TASK, USUAL_METHOD, short).prompt.vectors
    far = -near
    found = search({"far": start(far), "near": start(near), "learnt": start(learnt)})
    named = {one.name: one for one in found.starts}
    assert named["near"].cosine == pytest.approx(1, abs=1e-6)
    assert named["far"].cosine == pytest.approx(-1, abs=1e-6)
    assert named["learnt"].cosine == pytest.approx(similarity(near, learnt).mean)
    assert named["far"].loss is None
    assert named["near"].loss is not None and named["learnt"].loss is not None


def test_where_nothing_helps_it_says_so() -> None:
    huge = start(drawn(3) * 1e3)
    found = search({"noise": huge}, search=SEARCH.model_copy(update={"search_steps": 10}))
    assert (found.chosen, found.best, found.helps) == (USUAL, "noise", False)
    assert found.text.startswith("Nothing in the library helps: after 10 steps noise has accuracy")
    none = search({}, left_out={"other": "made for another backbone"})
    assert none.chosen == USUAL and none.left_out == {"other": "made for another backbone"}
    assert none.text == "Nothing in the library can be started from: the usual start is taken."


def test_all_get_the_same_steps_and_no_test_row_is_read(learnt: Tensor) -> None:
    sealed = replace(TASK, test=())
    shared = SourcePrompt(MPT(init="prompt", prompt=learnt), shared=True)
    sources = {"reviews": start(learnt), "noise": start(drawn(1)), "multitask": shared}
    told: list[dict[str, Any]] = []
    found = search(sources, task=sealed, observer=told.append)
    assert {one.name for one in found.starts if one.loss is not None} == {USUAL, *sources}
    assert [event["event"] for event in told] == ["transfer_search", "transfer_race"]
    texts = [str(event_text(event)) for event in told]
    assert texts[0] == (
        "Library: 3 prompts, scored untrained; training the usual start for 4 steps"
    )
    assert event_text({"event": "transfer", **asdict(found)}) == found.text
    assert asdict(search(sources)) == asdict(found)


def test_a_mix_of_all_is_one_more_start(learnt: Tensor) -> None:
    """It is trained whatever it scores untrained, and is no task's prompt to be near to."""
    settings = ATTEMPT(sources=torch.stack([learnt, drawn(1)]), init="random", bottleneck=4)
    sources = {"reviews": start(learnt), "noise": start(drawn(1))}
    mixed = sources | {MIX: SourcePrompt(settings, mixed=("reviews", "noise"))}
    told: list[dict[str, Any]] = []
    found = search(mixed, search=SEARCH.model_copy(update={"sources": 1}), observer=told.append)
    named = {one.name: one for one in found.starts}
    assert {name for name, one in named.items() if one.loss is not None} == {USUAL, "reviews", MIX}
    assert named[MIX].cosine is None and named["noise"].cosine is not None
    assert told[0]["library"] == 2
    with pytest.raises(ConfigError, match="the name of the mix"):
        search({MIX: start(learnt)})


@pytest.mark.parametrize("share", [0.25, 0.6, 0.95])
def test_a_killed_search_ends_the_same(learnt: Tensor, tmp_path: Path, share: float) -> None:
    sources = {"reviews": start(learnt), "noise": start(drawn(1))}
    backbone, many = tiny_backbone(), 10**6
    left = counted(backbone, many)
    whole = search(sources, tmp_path / "whole", backbone=backbone)
    backbone = tiny_backbone()
    counted(backbone, int(share * (many - left[0])))
    with pytest.raises(Killed):
        search(sources, tmp_path / "killed", backbone=backbone)
    assert asdict(search(sources, tmp_path / "killed")) == asdict(whole)
    assert (tmp_path / "killed" / JSON).read_text() == (tmp_path / "whole" / JSON).read_text()
    with pytest.raises(TrainingError, match="other settings"):
        search({"noise": start(drawn(1))}, tmp_path / "killed")


def test_texts_are_compared_by_their_probability() -> None:
    found = search({"noise": start(drawn(1))}, task=title_task())
    assert found.metric == "mean probability of the target's tokens"
    assert all(one.accuracy is None and one.loss is not None for one in found.starts)


def test_a_prompt_that_is_too_long_is_left_out() -> None:
    long = start(drawn(1, 900))
    found = search({"long": long, "noise": start(drawn(2))})
    assert list(found.left_out) == ["long"] and [one.name for one in found.starts][1:] == ["noise"]


def test_refusals() -> None:
    headed = replace(TASK, spec=SPEC.with_head("trained"))
    with pytest.raises(ConfigError, match="answer in words"):
        search({}, task=headed)
    with pytest.raises(ConfigError, match="no learning rates"):
        search({}, config=CONFIG.model_copy(update={"lr": "auto"}))
    with pytest.raises(ConfigError, match="the name of the usual start"):
        search({USUAL: start(drawn(1))})


def test_verdicts() -> None:
    starts = (TriedStart(USUAL, 1.0, 0.5), TriedStart("a", 1.0, 0.5))
    clear = TransferFound(starts, "a", 5, 80, "a", "accuracy", 0.9, 0.5, (0.2, 0.6))
    assert clear.helps and clear.text.startswith("a helps, and is taken: after 5 steps a has")
    unclear = replace(clear, ci95=(-0.1, 0.6))
    assert not unclear.helps and "nothing in the library clearly helps" in unclear.text
    assert "(+0.400, 95% interval -0.100 to +0.600)" in unclear.text
    diverged = replace(clear, saved=None, usual=None)
    assert diverged.text == "Not compared, since a training diverged: a is taken."
    assert replace(starts[1], diverged=True).cells()[-2:] == ("diverged", "-")
    assert TransferFound.of_dict(asdict(clear)) == clear
