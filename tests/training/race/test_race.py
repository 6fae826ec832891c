"""`--method auto`: what races, what is chosen, and that a kill changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.cli.views.event_text import event_text
from cuecard.errors import ConfigError, CuecardError, DataError
from cuecard.methods import PromptTuning
from cuecard.tasks import Task, TaskSpec
from cuecard.training import TrainConfig, read_log
from cuecard.training.race import runner
from cuecard.training.race.auto import auto
from cuecard.training.race.contestants import Entrants, contestants
from cuecard.training.race.pace import measure
from cuecard.training.race.plan import Cost, RacePlan
from cuecard.training.race.stages import cut
from cuecard.training.setup import TrainSetup
from cuecard.training.train import train
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Record
from support.data.head_tasks import (
    answer_task,
    choice_task,
    head_task,
    number_task,
    several_task,
    tag_task,
)
from support.data.pairs import pair_task
from support.data.reviews import SPEC, review_task, title_task
from support.dying import Killed, counted
from support.tiny import tiny_backbone

KINDS = (title_task, head_task, several_task, number_task, choice_task, tag_task, answer_task)
TEMPLATE = "Review: {text}\nSentiment:"
CONFIG = TrainConfig(budget="108 steps", checkpoint_every=2)
CLOCKS = {"seconds", "cpu_seconds"}


def task_of(template: str = TEMPLATE, rows: int = 80) -> Any:
    return review_task(rows, SPEC.model_copy(update={"template": template}))


def timeless(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in event.items() if k not in CLOCKS} for event in read_log(folder)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("whole")
    backbone = tiny_backbone()
    left = counted(backbone, 10**9)
    run = auto(backbone, task_of(), CONFIG, folder=folder)
    return run, folder, dict(backbone.counts), 10**9 - left[0]


def test_the_best_on_validation_goes_on_and_alone_is_tested(whole: Any) -> None:
    run, folder, *_ = whole
    events = read_log(folder)
    (race,) = [e for e in events if e["event"] == "race"]
    raced = [e for e in events if e["event"] == "raced"]
    (chosen,) = [e for e in events if e["event"] == "chosen"]
    assert [e["contestant"] for e in raced] == race["contestants"] and len(raced) == 2
    best = max(raced, key=lambda e: (e["accuracy"], -e["loss"]))
    assert chosen["contestant"] == best["contestant"]
    assert [e["event"] for e in events].count("test") == 1
    method = {each.name: each.method for each in contestants(SPEC)}[chosen["contestant"]]
    assert run.method == method and run.prompt.manifest.method == method.name
    assert run.steps + sum(e["steps"] for e in raced) == 108
    first = next(e for e in events if e["event"] == "validation")
    if run.prompt.head() is None:  # else the race's is that of the pooled head
        assert first["validation_loss"] == pytest.approx(best["loss"])


def test_the_race_is_part_of_what_the_run_took(whole: Any) -> None:
    run, folder, counts, _ = whole
    raced = [e for e in read_log(folder) if e["event"] == "raced"]
    assert run.cpu_seconds >= sum(e["cpu_seconds"] for e in raced) > 0
    assert run.tokens > 0
    assert counts["remembered"] > 0


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_killed_race_ends_with_the_same_bits(tmp_path: Path, whole: Any, share: float) -> None:
    run, folder, _, calls = whole
    backbone = tiny_backbone()
    counted(backbone, int(share * calls) + 1)
    with pytest.raises(Killed):
        auto(backbone, task_of(), CONFIG, folder=tmp_path)
    again = auto(tiny_backbone(), task_of(), CONFIG, folder=tmp_path)
    assert again.prompt.digest == run.prompt.digest
    assert timeless(tmp_path) == timeless(folder)


def test_a_finished_one_is_read_again(whole: Any) -> None:
    run, folder, *_ = whole
    events: list[dict[str, Any]] = []
    again = auto(tiny_backbone(), task_of(), CONFIG, folder=folder, observer=events.append)
    assert again.prompt.digest == run.prompt.digest
    assert [e["event"] for e in events] == ["finished"]
    loaded = Prompt.load(folder / "prompt", tiny_backbone())
    assert torch.equal(loaded.vectors, run.prompt.vectors)


@pytest.mark.parametrize(
    ("kind", "template", "refused"),
    [
        ("llama", "Review: {text}", 6),  # no words after the last field, no decoder
        ("mistral-sliding", TEMPLATE, 6),
        ("t5-gated", TEMPLATE, 7),
        ("roberta", f"{TEMPLATE} {{mask}}.", 4),
        ("mistral-sliding", "Review: {text}\n{prompt}Sentiment:", 8),
    ],
)
def test_what_cannot_run_is_left_out(kind: str, template: str, refused: int) -> None:
    events: list[dict[str, Any]] = []
    config = TrainConfig(budget="12 steps")
    run = auto(tiny_backbone(kind), task_of(template), config, observer=events.append)
    (race,) = [e for e in events if e["event"] == "race"]
    assert len(race["refused"]) == refused and run.steps == 12


@pytest.mark.parametrize(("asked", "first"), [(1, "p-tuning-v2, rate 0.06"), (9, "late")])
def test_what_comes_first_where_most_tokens_are_written(asked: int, first: str) -> None:
    """A late prompt pays off where inputs, which are run once, are most of a row."""
    spec = TaskSpec(kind="text-to-text", template="{text}\nOut:", max_new_tokens=4)
    records = [Record({"text": f"word {n} " * asked}, f"word {n} word {n}") for n in range(40)]
    task = Task.from_records(spec, records, split=(0.5, 0.25, 0.25))
    assert next(iter(Entrants.of(tiny_backbone(), task, TrainConfig()).setups)).startswith(first)


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_every_kind_of_task(make: Any) -> None:
    assert auto(tiny_backbone(), make(60), TrainConfig(budget="4 steps")).test is not None


def test_an_embedding_task() -> None:
    run = auto(tiny_backbone("roberta"), pair_task(60), TrainConfig(budget="4 steps"))
    assert run.test is not None


@pytest.mark.parametrize("make", [*KINDS, review_task, pair_task], ids=lambda make: make.__name__)
@pytest.mark.parametrize("kind", ["llama", "t5-gated", "bart", "roberta", "gpt2"])
def test_a_race_is_held_wherever_prompt_tuning_works(kind: str, make: Any) -> None:
    backbone, task = tiny_backbone(kind), make(60)
    alone: CuecardError | None = None
    try:
        TrainSetup.of(backbone, task, TrainablePrompt(PromptTuning(length=16)), TrainConfig())
    except CuecardError as error:
        alone = error
    if alone is None:
        entrants = Entrants.of(backbone, task, TrainConfig())
        assert "prompt-tuning" in entrants.setups
        assert entrants.setups.keys().isdisjoint(entrants.refused)
    else:
        with pytest.raises(type(alone)) as raced:
            Entrants.of(backbone, task, TrainConfig())
        assert raced.value.to_dict() == alone.to_dict()


def test_an_encoder_decoder_that_writes() -> None:
    run = auto(tiny_backbone("t5-gated"), title_task(60), TrainConfig(budget="3 steps"))
    assert run.test is not None and run.prompt.manifest.method == "prompt-tuning"


def test_steps_are_a_budget_too() -> None:
    assert auto(tiny_backbone(), task_of(), TrainConfig(steps=7)).steps == 7


def test_other_methods_take_no_budget() -> None:
    with pytest.raises(ConfigError, match="only the method auto takes a budget"):
        train(tiny_backbone(), task_of(), config=TrainConfig(budget="5 steps"))


def test_what_all_contestants_are_refused_for_is_said() -> None:
    with pytest.raises(ConfigError, match="the loss does not fit the task"):
        auto(tiny_backbone(), task_of(), TrainConfig(loss="head"), heads=False)


def test_no_validation_rows() -> None:
    task = task_of()
    empty = type(task)(task.spec, task.train, (), task.test, task.report)
    with pytest.raises(DataError):
        auto(tiny_backbone(), empty, CONFIG)


@pytest.mark.parametrize(
    ("template", "method", "positions"),
    [
        ("{prompt:5}{text}\n{prompt:2}So:", "prompt-tuning", 7),
        ("{prompt}{text}\n{prompt}So:", "prompt-tuning", 16),
        ("{text}\n{prompt:3}So:", "p-tuning-v2", 3),
    ],
)
def test_the_prompt_goes_where_the_template_says(
    template: str, method: str, positions: int
) -> None:
    run = auto(tiny_backbone(), task_of(template), TrainConfig(budget="2 steps"))
    manifest = run.prompt.manifest
    assert (manifest.method, manifest.slot) == (method, "infix")
    assert run.prompt.injection().length == positions


def test_encoder_decoders_have_contestants_of_their_own(tmp_path: Path) -> None:
    config = TrainConfig(budget="144 steps")
    auto(tiny_backbone("t5-gated"), task_of("Review: {text}", 40), config, folder=tmp_path)
    raced = {e["contestant"]: e for e in read_log(tmp_path) if e["event"] == "raced"}
    assert len(raced) == 3 and len({e["loss"] for e in raced.values()}) == 3
    (done,) = (e for e in read_log(tmp_path) if e["event"] == "done")
    assert done["step"] == 144 - 3 * 16


def test_a_step_is_timed_once_for_all_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[str] = []

    def counting(setup: Any, cached: int | None = None) -> Any:
        timed.append(setup.trainable.name)
        return measure(setup, cached)

    monkeypatch.setattr(runner, "measure", counting)
    run = auto(tiny_backbone(), task_of(), TrainConfig(budget="0.01s"))
    assert timed == ["p-tuning-v2"] * 2  # with a head, and with label words
    assert run.steps == 10 and run.cpu_seconds > 0.01


def test_a_budget_that_is_too_small_for_its_steps_is_told(tmp_path: Path) -> None:
    auto(tiny_backbone(), task_of(), TrainConfig(budget="0.02s"), folder=tmp_path)
    (race,) = (event for event in read_log(tmp_path) if event["event"] == "race")
    assert race["needs"] > 0.02
    assert "0.02 s of CPU time is too small: the fewest steps" in str(event_text(race))


def test_a_small_budget_takes_as_many_rows_as_it_pays_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dear(setup: Any, cached: int | None = None) -> Cost:
        return Cost(step=0.01, validation=0.01, brief=0.01, inputs=2.0 if cached else 0.0)

    monkeypatch.setattr(runner, "measure", dear)
    backbone, task = tiny_backbone(), task_of(rows=260)
    run = auto(backbone, task, TrainConfig(budget="3.5s"), folder=tmp_path)
    (race,) = (event for event in read_log(tmp_path) if event["event"] == "race")
    used, whole = race["train_rows"]
    assert whole == len(task.train) and 64 < used < whole
    text = " ".join(str(event_text(race)).split())
    assert f"The budget is enough for {used} of {whole} training rows" in text
    assert run.prompt.manifest.rows.trained_rows == used
    # Nothing of the rows left out is computed or cached.
    kept = next(event for event in read_log(tmp_path) if event["event"] == "inputs")
    rows = [*task.train, *task.validation]
    everything = task.spec.encode_rows(rows, backbone.tokenizer, "suffix")
    assert kept["tokens"] < 0.8 * sum(len(row.context) for row in everything)


def test_a_record_of_several_rows_is_kept_or_left_out_whole() -> None:
    task = answer_task(60, words=60)
    task = replace(task, spec=task.spec.model_copy(update={"max_length": 64}))
    method = PromptTuning(length=2)
    setup = TrainSetup.of(tiny_backbone(), task, TrainablePrompt(method), TrainConfig())
    few = cut(setup, RacePlan((method.name,), 0, {method.name: 1}, 20, 4))
    assert (len(few.task.train), len(few.task.validation)) == (20, 4)
    assert len(few.rows) > 2 * len(few.task.train)
    assert [row for row in setup.rows if row in {*few.rows}] == few.rows


def test_no_prompt_is_validated_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []

    def counting(setup: TrainSetup, *args: Any, **options: Any) -> Any:
        scored.append(len(scored))
        return validate(setup, *args, **options)

    validate = TrainSetup.validate
    monkeypatch.setattr(TrainSetup, "validate", counting)
    events: list[dict[str, Any]] = []
    auto(tiny_backbone(), task_of(), CONFIG, observer=events.append)
    told = [event for event in events if event["event"] == "validation"]
    # Two starts and two ends, one of them once more with its head pooled; then the best one's but
    # for its first, and its head's where it has one.
    headed = sum(event["event"] == "pooled" for event in events)
    assert len(scored) == 2 + 2 + 1 + len(told) - 1 + headed
