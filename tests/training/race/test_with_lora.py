"""A race that LoRA takes part in: who is trained on, and that a kill changes nothing."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from cuecard import auto_or_lora
from cuecard.artifacts import Prompt
from cuecard.backbones.adapters.peft_folder import read_adapter
from cuecard.cli.views.event_text import event_text
from cuecard.errors import ConfigError, Interrupted, TrainingError
from cuecard.evaluation.evaluate import evaluate
from cuecard.methods import PromptTuning
from cuecard.training import LoraRun, Run, TrainConfig, read_log
from cuecard.training.config import Budget
from cuecard.training.race import contestants, lora_trial, runner
from cuecard.training.race.auto import auto
from cuecard.training.race.contestants import Candidate
from cuecard.training.race.plan import Cost, RacePlan
from cuecard.training.race.with_lora import LORA_FOLDER, RaceWithLora
from cuecard.training.trainables.lora import merged
from support.data.reviews import SPEC, review_task, title_task
from support.dying import Killed, counted
from support.tiny import tiny_backbone

CONFIG = TrainConfig(budget="120 steps", checkpoint_every=4)
ROWS = 120
CLOCKS = {"seconds", "cpu_seconds"}
PLACES = (".", "race", f"race/{LORA_FOLDER}")
# Two that hardly learn, whatever they are given.
IDLE = tuple(Candidate(f"idle {n}", PromptTuning(length=2), faster=1e-4 * n) for n in (1, 2))


def idle(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contestants, "contestants", lambda spec, **asked: IDLE)


def timeless(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in event.items() if k not in CLOCKS} for event in read_log(folder)]


def raced(kind: str, folder: Path, passes: int = 10**9) -> tuple[Any, int]:
    """The race with LoRA, and the passes it took; the backbone is as it was."""
    backbone = tiny_backbone(kind)
    left, before = counted(backbone, passes), backbone.digest()
    found = RaceWithLora(backbone, review_task(ROWS), CONFIG, folder).run()
    assert backbone.digest() == before
    assert not any(module._forward_hooks for module in backbone.model.modules())
    return found, passes - left[0]


@pytest.fixture(scope="module")
def prompt_won(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("prompt")
    return *raced("llama", folder), folder


@pytest.fixture(scope="module")
def lora_won(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("lora")
    with pytest.MonkeyPatch.context() as patch:
        idle(patch)
        return *raced("t5-gated", folder), folder


def test_lora_is_taken_where_it_is_clearly_better(lora_won: Any) -> None:
    (run, lora), _, folder = lora_won
    assert isinstance(run, LoraRun) and lora.taken
    assert lora.ci95[0] > 0 and lora.against in {each.name for each in IDLE}
    assert lora.lora > lora.prompt and lora.steps == 20  # a sixth of 120
    chosen = next(e for e in read_log(folder / "race") if e["event"] == "chosen")
    assert lora.steps + 2 * 16 + run.steps == 120 and run.steps == chosen["steps"]
    # It goes on from where its race ended.
    trial = [e for e in read_log(folder / PLACES[2]) if e["event"] == "validation"]
    first = next(e for e in read_log(folder) if e["event"] == "validation")
    best = max(trial, key=lambda e: (e["validation_accuracy"], -e["validation_loss"]))
    assert first["validation_loss"] == pytest.approx(best["validation_loss"], rel=1e-5)


def test_its_run_is_one_of_an_adapter(lora_won: Any) -> None:
    (run, _), _, folder = lora_won
    backbone, prompt = tiny_backbone("t5-gated"), Prompt.load(folder / "prompt")
    adapter = read_adapter(folder / "adapter")
    assert prompt.manifest.backbone.fingerprint.adapter == run.adapter.digest
    assert [e["event"] for e in read_log(folder)].count("test") == 1
    with merged(backbone, adapter):
        found = evaluate(backbone, prompt.spec, review_task(ROWS).test, prior=prompt.manifest.prior)
    assert found.score == run.test.score


def test_a_prompt_that_is_not_clearly_worse_is_trained_on(prompt_won: Any) -> None:
    (run, lora), _, folder = prompt_won
    assert isinstance(run, Run) and not lora.taken and lora.lora is not None
    assert lora.steps + 2 * 16 + run.steps == 120
    told = read_log(folder)
    assert told[0]["event"] == "lora" and told[1]["event"] == "start"
    text = event_text(told[0])
    assert text == lora.text and text.startswith("LoRA r8 after 20 steps: accuracy 0.")
    assert lora.against in text and text.endswith("not clearly better, and not taken.")
    # As the prompts' race alone would have trained it, with what LoRA left.
    rest = CONFIG.model_copy(update={"budget": "100 steps"})
    alone = auto(tiny_backbone(), review_task(ROWS), rest)
    assert alone.steps == run.steps and alone.prompt.digest == run.prompt.digest


def test_what_raced_is_what_the_run_took(lora_won: Any, prompt_won: Any) -> None:
    for (run, lora), _, folder in (lora_won, prompt_won):
        others = [e["cpu_seconds"] for e in read_log(folder / "race") if e["event"] == "raced"]
        assert run.cpu_seconds > sum(others) + lora.cpu_seconds > lora.cpu_seconds > 0


@pytest.mark.parametrize("share", [0.35, 0.9])
def test_killed_where_lora_wins(
    tmp_path: Path, lora_won: Any, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run, _), passes, folder = lora_won
    idle(monkeypatch)
    with pytest.raises(Killed):
        raced("t5-gated", tmp_path, passes=int(share * passes) + 1)
    (again, _), _ = raced("t5-gated", tmp_path)
    assert again.adapter.digest == run.adapter.digest
    assert again.prompt.digest == run.prompt.digest
    for place in PLACES:
        assert timeless(tmp_path / place) == timeless(folder / place)


@pytest.mark.parametrize("share", [0.4])
def test_killed_where_a_prompt_wins(tmp_path: Path, prompt_won: Any, share: float) -> None:
    (run, _), passes, folder = prompt_won
    with pytest.raises(Killed):
        raced("llama", tmp_path, passes=int(share * passes) + 1)
    (again, _), _ = raced("llama", tmp_path)
    assert again.prompt.digest == run.prompt.digest
    for place in PLACES:
        assert timeless(tmp_path / place) == timeless(folder / place)


def test_ctrl_c_in_its_race_says_how_to_resume(tmp_path: Path) -> None:
    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="LoRA's race") as stopped:
        RaceWithLora(tiny_backbone(), review_task(ROWS), CONFIG, tmp_path, stop).run()
    assert f"cuecard train --resume {tmp_path}" in str(stopped.value.hint)


def test_a_finished_one_is_read_again(
    lora_won: Any, prompt_won: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def again(kind: str, folder: Path) -> Any:
        race = RaceWithLora(
            tiny_backbone(kind),
            review_task(ROWS),
            CONFIG,
            folder,
            lambda event: events.append(event["event"]),
        )
        race.fits(folder)
        return race.run()

    assert again("llama", prompt_won[2]).run.prompt.digest == prompt_won[0].run.prompt.digest
    other = RaceWithLora(tiny_backbone(), review_task(ROWS), TrainConfig(budget="149 steps"))
    with pytest.raises(TrainingError, match="other settings"):
        other.fits(prompt_won[2])
    idle(monkeypatch)
    assert again("t5-gated", lora_won[2]).run.adapter.digest == lora_won[0].run.adapter.digest
    assert events == ["finished", "finished"]


@pytest.mark.parametrize("make", [title_task])
def test_answers_that_are_texts_or_lists(make: Any) -> None:
    run, lora = RaceWithLora(tiny_backbone(), make(60), CONFIG).run()
    assert run.test is not None and lora.rows > 0 and lora.metric in lora.text
    assert json.loads(json.dumps(lora.ci95)) is not None


def test_seconds_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    plan, cost = RacePlan.of, Cost(step=0.01, validation=0.02, brief=0.02, inputs=0.0)

    def seen(budget: Budget, *args: Any, **options: Any) -> RacePlan:
        asked.append(budget.seconds or 0.0)
        return plan(budget, *args, **options)

    monkeypatch.setattr(RacePlan, "of", seen)
    for module in (runner, lora_trial):
        monkeypatch.setattr(module, "measure", lambda *args: cost)
    idle(monkeypatch)
    config = TrainConfig(budget="3s")
    run, lora = RaceWithLora(tiny_backbone("t5-gated"), review_task(ROWS), config).run()
    prompts, trial, left = asked
    assert (prompts, trial) == (2.5, 0.5) and 30 <= lora.steps <= 40
    assert lora.taken and left < 3 - lora.cpu_seconds and run.cpu_seconds > 3 - left


@pytest.mark.parametrize("budget", ["50 steps"])
def test_without_room_it_is_left_out_and_that_is_said(budget: str) -> None:
    run, lora = RaceWithLora(tiny_backbone(), review_task(60), TrainConfig(budget=budget)).run()
    assert isinstance(run, Run) and not lora.taken
    assert "no room for a race" in lora.text


def test_an_adapter_that_diverges_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cuecard.training.train_lora.LORA_LR", 1e30)
    run, lora = RaceWithLora(tiny_backbone(), review_task(ROWS), CONFIG).run()
    assert isinstance(run, Run) and lora.why_not == "its training diverged"


def test_what_takes_no_adapter_is_refused() -> None:
    placed = SPEC.model_copy(update={"template": "Review: {text}\n{prompt}Sentiment:"})
    with pytest.raises(ConfigError, match="place for a prompt"):
        RaceWithLora(tiny_backbone(), review_task(60, placed), CONFIG)


def test_from_python(lora_won: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    idle(monkeypatch)
    run = auto_or_lora(tiny_backbone("t5-gated"), review_task(ROWS), CONFIG, folder=lora_won[2])
    assert isinstance(run, LoraRun) and run.adapter.digest == lora_won[0].run.adapter.digest
    with pytest.raises(ConfigError, match="learning rate"):
        auto_or_lora(tiny_backbone(), review_task(60), TrainConfig(lr=0.1))
