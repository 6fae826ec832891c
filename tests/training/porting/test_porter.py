"""Prompts of one tiny backbone become prompts of another that answer alike."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cuecard.artifacts import Prompt
from cuecard.artifacts.lineage import PortedFrom
from cuecard.errors import ConfigError, Interrupted, TrainingError, WrongBackboneError
from cuecard.methods import PromptTuning, PTuningV2
from cuecard.tasks import Task
from cuecard.training import TrainConfig
from cuecard.training.porting.outcome import PortedPrompt
from cuecard.training.porting.porter import PromptPorter
from cuecard.training.porting.settings import PortConfig
from cuecard.training.porting.sources import PortSource
from cuecard.training.train import train
from cuecard.types import Record
from support.data.reviews import SPEC, TEXT_SPEC, review_task, reviews
from support.dying import Killed, counted
from support.random_prompts import random_prompt
from support.tiny import tiny_backbone

ROWS = reviews(60)
INPUTS = tuple(Record(record.fields, None) for record in ROWS)
CONFIG = TrainConfig(steps=20, batch_rows=4, lr=0.1, eval_every=10, checkpoint_every=3)
STEADY = TrainConfig(steps=40, batch_rows=8, lr=0.1, eval_every=20)


def old() -> Any:
    return tiny_backbone("llama")


def new() -> Any:
    return tiny_backbone("qwen2", seed=1)


@cache
def titles() -> Prompt:
    """A prompt whose answers have something in common, unlike a random one's."""
    rows = [replace(row, target="good" if row.target == "positive" else "so bad") for row in ROWS]
    task = Task.from_records(TEXT_SPEC, rows)
    config = TrainConfig(steps=60, lr=0.1, clip=0, eval_every=60)
    return train(old(), task, PTuningV2(length=4, init="zero"), config).prompt


def source(name: str = "reviews", prompt: Prompt | None = None, **more: Any) -> PortSource:
    prompt = prompt or random_prompt(old(), 7)
    return PortSource(name, prompt, **{"inputs": INPUTS, "version": 3, **more})


def both() -> tuple[PortSource, PortSource]:
    return source(), source("titles", titles())


def porter(
    folder: Path | None = None,
    sources: Any = None,
    backbone: Any = None,
    config: TrainConfig = CONFIG,
    load: Any = lambda _: old(),
    observer: Any = None,
    **settings: Any,
) -> PromptPorter:
    made = PortConfig(**settings)
    backbone = backbone or new()
    sources = both() if sources is None else sources
    return PromptPorter(backbone, sources, load, made, config, folder=folder, observer=observer)


def nearer(found: PortedPrompt) -> bool:
    """Whether it answers more like the old prompt than the new backbone does by itself."""
    assert found.fidelity.kl is not None and found.untrained.kl is not None
    return found.fidelity.kl < found.untrained.kl


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[PortedPrompt, ...]]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, porter(folder).run()


def test_two_prompts_are_ported_in_one_pass(
    whole: tuple[Path, tuple[PortedPrompt, ...]],
) -> None:
    folder, (labels, texts) = whole
    assert (labels.learnt, texts.learnt) == ("label probabilities", "likeliest tokens")
    assert nearer(texts) and texts.run.best_step > 0
    for found in (labels, texts):
        saved = Prompt.load(folder / "prompts" / found.source.name, new())
        assert saved.digest == found.prompt.digest
        assert saved.manifest.ported_from == PortedFrom(
            name=found.source.name,
            version=3,
            digest=found.source.prompt.digest,
            backbone="tiny-llama",
        )
        assert saved.manifest.backbone.name == "tiny-qwen2"
        assert saved.manifest.method_config["length"] == 4  # as the old one's
        metrics: Any = saved.manifest.metrics
        assert metrics["fidelity"]["agreement"] == found.fidelity.agreement
        assert "test" not in metrics  # the old prompt's answers are no labels
    assert labels.prompt.manifest.prior is None
    (gate,) = labels.gates
    assert (gate.name, gate.rows, gate.passed) == ("agreement", len(labels.task.test), False)


def test_prompts_of_a_pass_are_those_of_each_alone(
    whole: tuple[Path, tuple[PortedPrompt, ...]],
) -> None:
    (alone,) = porter(sources=[source()]).run()
    assert alone.fidelity.kl == pytest.approx(whole[1][0].fidelity.kl, abs=1e-4)


def test_a_killed_port_goes_on_to_the_same_end(
    whole: tuple[Path, tuple[PortedPrompt, ...]], tmp_path: Path
) -> None:
    deaths = 0
    for calls in (4, *[9] * 5):
        student, teacher = new(), old()
        making = porter(tmp_path, backbone=student, load=lambda _, kept=teacher: kept)
        counted(student, calls)
        try:
            making.run()
        except Killed:
            deaths += 1
    assert deaths >= 4
    again = porter(tmp_path).run()
    assert [one.prompt.digest for one in again] == [one.prompt.digest for one in whole[1]]
    assert [one.fidelity for one in again] == [one.fidelity for one in whole[1]]


def test_ctrl_c_keeps_what_was_done(
    whole: tuple[Path, tuple[PortedPrompt, ...]], tmp_path: Path
) -> None:
    def press(event: dict[str, Any]) -> None:
        if event["event"] == "step" and (event["step"], event["run"]) == (5, "training/titles"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="0 of 2 prompts trained") as stopped:
        porter(tmp_path, observer=press).run()
    assert f"cuecard port --resume {tmp_path}" in str(stopped.value)
    again = porter(tmp_path).run()
    assert [one.prompt.digest for one in again] == [one.prompt.digest for one in whole[1]]


def test_old_prompts_are_asked_once(
    whole: tuple[Path, tuple[PortedPrompt, ...]], tmp_path: Path
) -> None:
    folder, (labels, _) = whole
    lines = (folder / "teacher" / "reviews.jsonl").read_text().splitlines()
    known = {line["fields"]["text"]: line["answer"] for line in map(json.loads, lines[1:])}
    told = labels.source.prompt.bind(old()).predict(INPUTS)
    assert list(known.values()) == [answer.answer for answer in told]
    for row in (*labels.task.train, *labels.task.test):
        assert known[str(row.fields["text"])] == row.target

    def refuse(_: PortSource) -> Any:
        raise AssertionError("loaded the old backbone again")

    (again,) = porter(folder_with(lines, tmp_path), sources=[source()], load=refuse).run()
    assert again.prompt.manifest.ported_from == labels.source.origin
    fewer = source(inputs=INPUTS[1:])
    with pytest.raises(TrainingError, match="answers of another run"):
        porter(folder, sources=[fewer]).fits(folder)
    porter(folder).fits(folder)


def folder_with(lines: list[str], folder: Path) -> Path:
    (folder / "teacher").mkdir()
    (folder / "teacher" / "reviews.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_another_tokenizer_learns_the_texts() -> None:
    port = porter(
        sources=[source("titles", titles())], backbone=bart(), config=STEADY, method="prompt-tuning"
    )
    assert port.plan()["prompts"][0]["learns"] == "texts"
    (found,) = port.run()
    assert found.learnt == "texts" and found.fidelity.kl is None
    assert found.run.best_step > 0
    interval = found.fidelity.agreement_ci95
    assert interval.low <= found.fidelity.agreement <= interval.high


def bart() -> Any:
    """A backbone whose tokenizer puts other tokens around a text."""
    return tiny_backbone("bart", seed=1)


@pytest.mark.filterwarnings("ignore::cuecard.errors.DataWarning")
def test_labelled_rows_are_a_gate() -> None:
    labelled = tuple(reviews(40, seed=5))
    old_prompt = source(inputs=tuple(Record(r.fields, None) for r in reviews(400)))
    given = PortSource("reviews", old_prompt.prompt, old_prompt.inputs, labelled)
    wide = porter(sources=[given], config=STEADY, tolerance=1.0, margin=0.99)
    (found,) = wide.run()
    assert found.old_score is not None and found.new_score is not None
    told = given.prompt.bind(old()).evaluate(labelled)
    assert found.old_score.score == told.score and len(found.new_score.records) == 40
    agreement, score = found.gates
    assert score.value == pytest.approx(found.old_score.score - found.new_score.score)
    assert agreement.passed and score.passed and found.passed and nearer(found)
    metrics: Any = found.prompt.manifest.metrics
    assert metrics["test"]["accuracy"] == found.new_score.score


def test_a_head_is_ported_in_words() -> None:
    short = TrainConfig(steps=2, batch_rows=4, eval_every=2)
    task = review_task(40, SPEC.with_head("trained"))
    prompt = train(old(), task, PromptTuning(length=2), short).prompt
    (found,) = porter(sources=[source(prompt=prompt)]).run()
    assert prompt.head() is not None and found.prompt.head() is None
    assert found.prompt.spec.head == "none" and found.prompt.spec.labels == SPEC.labels


def test_other_kinds_of_prompts() -> None:
    """Keys and values stay keys and values; any method may be named instead."""
    given = source()
    assert given.method(PortConfig()).name == "prompt-tuning"
    made = given.method(PortConfig(method="prefix-tuning", length=2))
    assert (made.name, made.slot, made.model_dump()["length"]) == ("prefix-tuning", "prefix", 2)
    (found,) = porter(sources=[given], method="prefix-tuning").run()
    assert found.prompt.manifest.injection == "prefix-kv"
    again = PortSource("kv", found.prompt, INPUTS)
    assert again.method(PortConfig()).name == "prefix-tuning"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sources": []}, "there are no prompts to port"),
        ({"sources": [source(), source()]}, "not the names of several prompts"),
        ({"method": "promt-tuning"}, "did you mean prompt-tuning"),
        ({"method": "mpt"}, "shares a prompt between tasks"),
        ({"backbone": tiny_backbone("bert")}, "cannot be asked in this way"),
    ],
)
def test_mistakes(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        porter(**given)


def test_a_prompt_is_asked_on_its_own_backbone_alone() -> None:
    with pytest.raises(WrongBackboneError):
        porter(sources=[source()], load=lambda _: tiny_backbone("llama", seed=7)).run()


@pytest.mark.filterwarnings("ignore::cuecard.errors.DataWarning")
def test_inputs_may_be_one_part_of_a_split() -> None:
    """Whatever part of labelled data they come from, some of them are held out."""
    given = tuple(replace(row, target=None) for row in review_task(200).train)
    (planned,) = porter(sources=[source(inputs=given)]).plan()["prompts"]
    assert planned["inputs"] == len(given)
