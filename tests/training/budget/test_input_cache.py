from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cuecard.cli.views.event_text import event_text
from cuecard.methods import PromptTuning
from cuecard.training import TrainConfig
from cuecard.training.budget.input_cache import choose_place
from cuecard.training.train import train
from cuecard.types import common_beginning
from support.data.reviews import SPEC, review_task
from support.tiny import tiny_backbone

LATE = PromptTuning(length=4, init="random", slot="suffix")
HUGE = 2**60
SHOWN = "Review: a warm and fine one\nSentiment: good\n\nReview: cold and poor\nSentiment: bad\n\n"
FORMS = {"suffix": SHOWN + SPEC.template, "infix": SHOWN + "{prompt}" + SPEC.template}


def test_memory_then_disk_then_neither(tmp_path: Path) -> None:
    assert choose_place("auto", 1000, tmp_path) == "memory"
    assert choose_place("auto", HUGE, tmp_path) == "recompute"
    assert choose_place("disk", HUGE, tmp_path) == "disk"
    assert choose_place("disk", 1000, None) == "memory"
    assert choose_place("recompute", 1, tmp_path) == "recompute"


def test_what_does_not_fit_in_memory_goes_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        available = 100

    monkeypatch.setattr("psutil.virtual_memory", Full)
    assert choose_place("auto", 1000, tmp_path) == "disk"
    assert choose_place("auto", 1000, None) == "recompute"


@pytest.mark.parametrize("place", ["memory", "disk", "recompute"])
def test_a_late_prompt_runs_its_inputs_once(place: Any, tmp_path: Path) -> None:
    backbone, task = tiny_backbone(), review_task(60)
    config = TrainConfig(steps=20, batch_rows=8, eval_every=10, inputs=place)
    events: list[dict[str, Any]] = []
    ran: list[int] = []

    def observe(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "step":
            ran.append(backbone.counts["tokens"])
            backbone.reset_counts()

    run = train(backbone, task, LATE, config, folder=tmp_path, observer=observe)
    (told,) = [event for event in events if event["event"] == "inputs"]
    assert told["place"] == place
    text = event_text(told)
    assert text is not None and ("every epoch" in text) == (place == "recompute")
    assert (tmp_path / "inputs.bin").exists() == (place == "disk")
    last = ran[-5:]  # all inputs were seen by then; a validation comes after every tenth step
    assert (max(last) <= 8 * 4) == (place != "recompute")
    assert run.prompt.vectors.shape[0] == 4


def test_places_give_the_same_prompt_and_a_second_task_computes_nothing() -> None:
    backbone, task = tiny_backbone(), review_task(60)
    first = train(backbone, task, LATE, TrainConfig(steps=12, inputs="memory"))
    assert backbone.inputs is not None
    misses = backbone.inputs.misses
    assert misses > 0
    again = train(backbone, task, LATE, TrainConfig(steps=12, inputs="memory"))
    assert again.prompt.digest == first.prompt.digest
    assert backbone.inputs.misses == misses


def test_disk_and_memory_hold_the_same_bits(tmp_path: Path) -> None:
    task, digests = review_task(60), []
    for place in ("memory", "disk", "disk"):
        config = TrainConfig(steps=12, inputs=place)  # type: ignore[arg-type]
        folder = tmp_path / f"{len(digests)}"
        folder.mkdir()
        if len(digests) == 2:  # finds the file that another process left
            (folder / "inputs.bin").write_bytes((tmp_path / "1" / "inputs.bin").read_bytes())
        digests.append(train(tiny_backbone(), task, LATE, config, folder=folder).prompt.digest)
    assert len(set(digests)) == 1


class _KilledError(Exception):
    """Stands for a death between two lines of code."""


def run_behind(
    slot: Any, inputs: Any, folder: Path | None = None, kill_at: int = -1
) -> tuple[Any, list[int], list[dict[str, Any]]]:
    """A run whose template begins with solved rows: its result, each step's tokens, its events."""
    backbone, events, ran = tiny_backbone(), [], []
    spec = SPEC.model_copy(update={"template": FORMS[slot]})

    def observe(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "step":
            ran.append(backbone.counts["tokens"])
            if event["step"] == kill_at:
                raise _KilledError
        backbone.reset_counts()

    method = PromptTuning(length=4, init="random", slot=slot)
    config = TrainConfig(steps=12, batch_rows=8, eval_every=6, inputs=inputs, checkpoint_every=1)
    task = review_task(60, spec)
    run = train(backbone, task, method, config, folder=folder, observer=observe)
    return run, ran, events


@pytest.mark.parametrize("slot", ["suffix", "infix"])
def test_solved_rows_in_front_of_a_prompt_are_kept_once(slot: Any) -> None:
    run, ran, events = run_behind(slot, "memory")
    (told,) = [event for event in events if event["event"] == "inputs"]
    task, spec = review_task(60), run.prompt.spec
    tokenizer = tiny_backbone().tokenizer
    rows = spec.encode_rows([*task.train, *task.validation], tokenizer, slot)
    inputs = {row.context[: row.slot] for row in rows}
    front = common_beginning(list(inputs))
    assert front > 32
    assert told["tokens"] == front + sum(len(ids) - front for ids in inputs)
    longest = max(len(row.context) for row in rows) - front
    assert ran[-1] <= (8 * 4 if slot == "suffix" else 4 + 8 * longest)
    plain, again, _ = run_behind(slot, "recompute")
    assert plain.validation.loss == pytest.approx(run.validation.loss, abs=1e-4)
    assert again[-1] <= 8 * (4 + longest)


@pytest.mark.parametrize("slot", ["suffix", "infix"])
@pytest.mark.parametrize("inputs", ["memory", "recompute"])
def test_a_run_behind_solved_rows_goes_on_with_the_same_bits(
    slot: Any, inputs: Any, tmp_path: Path
) -> None:
    whole, *_ = run_behind(slot, inputs)
    with pytest.raises(_KilledError):
        run_behind(slot, inputs, tmp_path, kill_at=7)
    cut, *_ = run_behind(slot, inputs, tmp_path)
    assert cut.prompt.digest == whole.prompt.digest and cut.best_step == whole.best_step
    assert cut.test.predictions == whole.test.predictions
