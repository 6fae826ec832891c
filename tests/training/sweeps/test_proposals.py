"""Optuna as pure functions of what was seen."""

from __future__ import annotations

import importlib
import math

import pytest

from cuecard.errors import ConfigError
from cuecard.training.storage.checkpoint import State
from cuecard.training.sweeps.proposals import Seen, check_installed, propose, should_prune
from cuecard.training.sweeps.space import Axis, Range, Settings

AXES: dict[str, Axis] = {
    "training.lr": Range(1e-4, 1.0, log=True),
    "method.length": Range(2, 30, log=False),
    "method.init": ("random", "text"),
}


def value(settings: Settings) -> float:
    """Best at a rate of 0.01 from text."""
    far = abs(math.log10(settings["training.lr"]) + 2)
    return far + (0.5 if settings["method.init"] == "random" else 0.0)


def searched(total: int, seed: int) -> list[Seen]:
    seen: list[Seen] = []
    for _ in range(total):
        settings = propose(AXES, seen, total=total, seed=seed)
        seen.append(
            Seen(settings, State(validations=[(0, 3.0), (5, value(settings))], ended="steps"))
        )
    return seen


def test_proposals_fit_and_are_the_same_for_the_same_past() -> None:
    seen = searched(12, seed=0)
    for trial in seen:
        assert 1e-4 <= trial.settings["training.lr"] <= 1.0
        assert isinstance(trial.settings["method.length"], int)
        assert 2 <= trial.settings["method.length"] <= 30
        assert trial.settings["method.init"] in ("random", "text")
    assert [s.settings for s in searched(12, seed=0)] == [s.settings for s in seen]
    assert propose(AXES, seen, total=20, seed=0) == propose(AXES, seen, total=20, seed=0)
    assert searched(3, seed=1)[0].settings != seen[0].settings


def test_proposals_learn_from_what_was_seen() -> None:
    early, late = 0.0, 0.0
    for seed in range(3):
        values = [value(trial.settings) for trial in searched(40, seed)]
        early += sum(values[:10]) / 10
        late += sum(values[-10:]) / 10
    assert late < 0.75 * early


def test_trials_that_run_or_failed_count_too() -> None:
    seen = searched(8, seed=0)
    seen[1].state.ended, seen[2].state.ended, seen[3].state.ended = None, "pruned", "diverged"
    seen[4].state.ended, seen[4].state.validations = None, []
    assert propose(AXES, seen, total=20, seed=0).keys() == AXES.keys()


def test_pruning_is_by_the_median_of_the_finished() -> None:
    settings = {"training.lr": 0.1, "method.length": 4, "method.init": "text"}

    def trial(losses: list[float], ended: str | None = "steps") -> Seen:
        return Seen(settings, State(validations=list(enumerate(losses)), ended=ended))

    finished = [trial([3.0, loss, loss]) for loss in (0.2, 0.5, 0.8)]
    assert should_prune(AXES, finished, trial([3.0, 0.6], None), steps=2)
    assert not should_prune(AXES, finished, trial([3.0, 0.4], None), steps=2)
    assert not should_prune(AXES, finished[:2], trial([3.0, 0.6], None), steps=2)  # too few
    assert not should_prune(AXES, finished, trial([3.0, 0.6], None), steps=10)  # too early
    running = [trial([3.0, 0.2], None) for _ in range(3)]
    assert not should_prune(AXES, running, trial([3.0, 0.6], None), steps=2)


def test_without_optuna_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"cuecard\[search\]"):
        check_installed()
