"""What events say in numbers."""

from __future__ import annotations

import pytest

from cuecard.tracking.readings import Reading, part_of, reading, settings
from cuecard.training.sweeps.runner import of_trials

STEP = {"event": "step", "step": 3, "loss": 0.5, "lr": 0.1, "grad_norm": float("inf")}
VALIDATION = {
    "event": "validation",
    "step": 4,
    "validation_loss": 0.25,
    "validation_accuracy": None,
    "best": True,
}
TASKS = {"event": "tasks", "step": 2, "tasks": {"spam": {"loss": 1.5, "accuracy": None}}}
RACED = {
    "event": "raced",
    "contestant": "prefix lr=0.1",
    "loss": 2.0,
    "steps": 9,
    "diverged": False,
}
DONE = {"event": "done", "step": 8, "digest": "ab", "test": 0.75, "alarm": None}


@pytest.mark.parametrize(
    ("event", "step", "values"),
    [
        (STEP, 3, {"train/loss": 0.5, "train/lr": 0.1}),
        (VALIDATION, 4, {"validation/loss": 0.25}),
        ({**VALIDATION, "event": "teacher_validation"}, 4, {"validation/loss": 0.25}),
        (TASKS, 2, {"validation/tasks/spam/loss": 1.5}),
        (RACED, 9, {"race/prefix lr=0.1/loss": 2.0}),
        (DONE, 8, {"final/test": 0.75}),
    ],
)
def test_numbers(event: dict[str, object], step: int, values: dict[str, float]) -> None:
    assert reading(event) == Reading("", step, values)


@pytest.mark.parametrize("name", ["progress", "test", "resume", "an event of next year"])
def test_other_events_have_none(name: str) -> None:
    assert reading({"event": name, "done": 3, "total": 9}) is None


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ({}, ""),
        ({"trial": 7}, "trials/007"),
        ({"task": "spam"}, "tasks/spam"),
        ({"trial": 1, "run": "patterns/trials/001"}, "patterns/trials/001"),
    ],
)
def test_parts_are_called_as_their_folders(more: dict[str, object], part: str) -> None:
    assert part_of({**STEP, **more}) == part
    found = reading({**STEP, **more})
    assert found is not None and found.run == part
    of_log = reading({**STEP, **more}, "best")
    assert of_log is not None and of_log.run == "best"


def test_settings_are_the_first_events() -> None:
    start = {"event": "start", "method": "lora", "config": {"lr": 0.1}, "notes": ["few rows"]}
    assert settings(start) == {"method": "lora", "config.lr": 0.1}
    assert settings(STEP) is None


def test_a_sweep_inside_a_run_tells_of_its_folders() -> None:
    seen: list[dict[str, object]] = []
    tell = of_trials(seen.append, "patterns/generation-2")
    tell({**STEP, "trial": 1})
    tell({"event": "sweep", "trials": 2})
    assert part_of(seen[0]) == "patterns/generation-2/trials/001"
    assert seen[1] == {"event": "sweep", "trials": 2}
