"""A text becomes prompts of several lengths."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.errors import ConfigError, DataError, Interrupted, TrainingError
from cuecard.tasks import TaskSpec
from cuecard.training import TrainConfig
from cuecard.training.compiling.compiler import TextCompiler
from cuecard.training.compiling.full_text import FullText
from cuecard.training.compiling.outcome import CompileRun
from cuecard.training.compiling.settings import CompileConfig
from cuecard.types import InputTokens, PrefixKV, Record
from support.data.reviews import reviews
from support.dying import Killed, counted
from support.tiny import tiny_backbone

TEXT = "it is good and not bad : good for one , bad for none . the lazy dog jumps over it ."
PLAIN = TaskSpec(kind="text-to-text", template="{prompt}\n\n{text}\nAnswer:", max_new_tokens=4)
LABELS = TaskSpec(
    kind="classification", template="{prompt}\n{text}\nLabel:", labels=("negative", "positive")
)
INPUTS = [Record(record.fields, None) for record in reviews(30)]
CONFIG = TrainConfig(steps=12, batch_rows=4, eval_every=6, checkpoint_every=3)


def compiler(
    folder: Path | None = None,
    spec: TaskSpec = PLAIN,
    backbone: Any = None,
    config: TrainConfig = CONFIG,
    inputs: list[Record] = INPUTS,
    **more: Any,
) -> TextCompiler:
    text = FullText.of(backbone or tiny_backbone(), spec, TEXT)
    settings = {"into": (8, 2), "start": "first", **more.pop("settings", {})}
    return TextCompiler(text, inputs, CompileConfig(**settings), config, folder=folder, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompileRun]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, compiler(folder).run()


def test_prompts_come_nearer_to_the_text(whole: tuple[Path, CompileRun]) -> None:
    folder, run = whole
    assert [each.length for each in run.lengths] == [2, 8] and run.kept.length == 8
    assert run.passed is None
    for each in run.lengths:
        compiled, first, *others = each.rows
        assert first.name == "first tokens"
        assert [row.name for row in others] == ["last tokens", "own summary", "informative tokens"]
        assert compiled.fidelity.kl < first.fidelity.kl
        assert {row.length for row in each.rows} == {each.length}
    full, none = (row.fidelity for row in run.full)
    assert full.same == full.agreement == 1 and abs(full.kl) < 1e-5 < none.kl
    assert run.lengths[1].rows[0].fidelity.kl < none.kl
    saved = Prompt.load(folder / "prompt", run.text.backbone)
    assert saved.digest == run.prompt.digest
    settings = saved.manifest.method_config
    assert (settings["source"], settings["source_tokens"]) == (run.text.digest, run.text.length)
    assert saved.manifest.metrics["fidelity"]["kl"] == run.kept.rows[0].fidelity.kl


def test_the_first_position_stays_as_it_is(whole: tuple[Path, CompileRun]) -> None:
    _, run = whole
    found = run.prompt.injection()
    assert isinstance(found, PrefixKV)
    start = run.text.first(8).keys_values
    torch.testing.assert_close(found.keys_values[..., :1, :], start[..., :1, :])
    assert float((found.keys_values - start)[..., 1:, :].abs().amax((0, 1, 2, 4)).min()) > 0


def test_a_killed_run_goes_on_to_the_same_end(
    whole: tuple[Path, CompileRun], tmp_path: Path
) -> None:
    deaths = 0
    for calls in (3, *[14] * 6):
        backbone = tiny_backbone()
        making = compiler(tmp_path, backbone=backbone)
        counted(backbone, calls)
        try:
            making.run()
        except Killed:
            deaths += 1
    assert deaths >= 4
    run = compiler(tmp_path).run()
    assert run.prompt.digest == whole[1].prompt.digest
    assert [row.fidelity for row in run.lengths[0].rows] == [
        row.fidelity for row in whole[1].lengths[0].rows
    ]


def test_ctrl_c_keeps_what_was_done(whole: tuple[Path, CompileRun], tmp_path: Path) -> None:
    def press(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 4 and event["run"] == "lengths/2":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted) as stopped:
        compiler(tmp_path, observer=press).run()
    assert "stopped with 0 of 2 prompts trained" in str(stopped.value)
    assert f"cuecard compile --resume {tmp_path}" in str(stopped.value)
    assert compiler(tmp_path).run().prompt.digest == whole[1].prompt.digest


def test_answers_are_asked_once(whole: tuple[Path, CompileRun]) -> None:
    folder, run = whole
    lines = [json.loads(line) for line in (folder / "teacher.jsonl").read_text().splitlines()]
    known = {line["fields"]["text"]: line["answer"] for line in lines[1:]}
    assert set(known) == {str(record.fields["text"]) for record in INPUTS}
    for row in (*run.task.train, *run.task.validation, *run.task.test):
        assert known[str(row.fields["text"])] == row.target
    with pytest.raises(TrainingError, match="answers of another run"):
        compiler(folder, inputs=INPUTS[1:]).fits(folder)
    compiler(folder).fits(folder)


def test_labels_learn_the_texts_probabilities() -> None:
    steady = TrainConfig(steps=40, batch_rows=8, eval_every=20)
    inputs = [Record(record.fields, None) for record in reviews(120)]
    given = {"settings": {"into": (4,)}, "inputs": inputs, "labelled": reviews(20)}
    run = compiler(spec=LABELS, config=steady, **given).run()
    (only,) = run.lengths
    compiled = only.rows[0]
    # By the probabilities of validation rows; of so small a model those of other rows say little.
    assert only.run.best_step > 0
    assert compiled.fidelity.same == compiled.fidelity.agreement
    assert compiled.score is not None and len(compiled.score.records) == run.evaluated == 20
    assert run.prompt.manifest.prior is None


@pytest.mark.filterwarnings("ignore::cuecard.errors.DataWarning")
def test_the_shortest_within_the_tolerance_is_kept() -> None:
    short = TrainConfig(steps=2, batch_rows=4, eval_every=1)
    every = FullText.of(tiny_backbone(), PLAIN, TEXT).length
    tight = compiler(config=short, settings={"into": (every, 2), "tolerance": 0.0}).run()
    few, all_of_it = tight.lengths
    assert few.agreement < 1 == all_of_it.agreement and tight.kept is all_of_it and tight.passed
    loose = 1 - few.agreement
    found = compiler(config=short, settings={"into": (every, 2), "tolerance": loose}).run()
    assert found.kept.length == 2 and found.passed
    never = compiler(config=short, settings={"into": (2,), "tolerance": loose / 2}).run()
    assert never.kept.length == 2 and never.passed is False


def test_a_text_becomes_input_vectors_too() -> None:
    run = compiler(settings={"into": (4,), "injection": "input-tokens"}).run()
    found = run.prompt.injection()
    assert isinstance(found, InputTokens) and found.vectors.shape == (4, 32)
    compiled, first, *_ = run.lengths[0].rows
    assert compiled.fidelity.kl < first.fidelity.kl


def test_the_closed_form_begins_nearer_than_the_first_tokens() -> None:
    settings = {"into": (8,), "start": "auto"}
    (only,) = compiler(settings=settings).run().lengths
    compiled, start, first, *_ = only.rows
    assert start.name == "its start, untrained"
    assert start.fidelity.kl < first.fidelity.kl and compiled.fidelity.kl < first.fidelity.kl
    assert only.run.prompt.manifest.method_config["start"] == "matched"


def test_without_a_closed_form_it_starts_from_the_first_tokens() -> None:
    short = TrainConfig(steps=2, batch_rows=4, eval_every=2)
    sliding = tiny_backbone("mistral-sliding")
    auto = {"into": (4,), "start": "auto"}
    (only,) = compiler(backbone=sliding, config=short, settings=auto).run().lengths
    assert only.run.prompt.manifest.method_config["start"] == "first"
    assert only.rows[1].name == "first tokens"  # not what an untrained start would be
    with pytest.raises(ConfigError, match="closed form cannot be had"):
        compiler(backbone=sliding, settings={**auto, "start": "matched"}).run()


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="shorter than the prompt"):
        compiler(settings={"into": (400,)})
    with pytest.raises(DataError, match="too few inputs"):
        compiler(inputs=INPUTS[:1]).run()
    for wrong in ((0,), (4, 4), (1001,)):
        with pytest.raises(ConfigError, match="not the lengths of prompts"):
            CompileConfig(into=wrong)
    with pytest.raises(ConfigError, match="input vectors start from"):
        CompileConfig(injection="input-tokens", start="matched")
