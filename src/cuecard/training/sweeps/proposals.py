"""Optuna as pure functions: earlier trials -> what to try next, and whether to stop early.

A study is built from the trials' states whenever one is asked, so a sweep that was killed proposes
the same again, and nothing of Optuna's own has to be kept.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cuecard.errors import ConfigError
from cuecard.training.storage.checkpoint import State
from cuecard.training.sweeps.space import Axis, Range, Settings

# Proposals at random before the estimator has something to go by, as a share of all.
_RANDOM = 4
# Finished trials before one may be pruned, and the share of a trial's steps it has in any case.
_FINISHED = 3
_UNPRUNED = 0.2


@dataclass(frozen=True, slots=True)
class Seen:
    """A trial of the same task: its settings, and its state so far."""

    settings: Settings
    state: State


def propose(axes: Mapping[str, Axis], seen: Sequence[Seen], *, total: int, seed: int) -> Settings:
    """The next trial's settings, by a tree-structured Parzen estimator.

    Args:
        seen: all earlier trials, those that still run too.
        total: how many there will be.

    Raises:
        ConfigError: Optuna is not installed.
    """
    optuna = _optuna()
    sampler = optuna.samplers.TPESampler(
        n_startup_trials=max(2, total // _RANDOM),
        seed=(seed * 1_000_003 + len(seen)) % 2**32,
        constant_liar=True,
    )
    study = _study(optuna, axes, seen, sampler=sampler)
    found = study.ask(_distributions(optuna, axes)).params
    return {key: found[key] for key in axes}


def should_prune(axes: Mapping[str, Axis], others: Sequence[Seen], own: Seen, steps: int) -> bool:
    """Whether a trial is worse than the median of the finished ones at the same step.

    Args:
        steps: how many the trial would make.

    Raises:
        ConfigError: Optuna is not installed.
    """
    optuna = _optuna()
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=_FINISHED, n_warmup_steps=int(steps * _UNPRUNED)
    )
    study = _study(optuna, axes, [*others, own], pruner=pruner)
    return bool(pruner.prune(study, study.get_trials(deepcopy=False)[-1]))


def check_installed() -> None:
    """
    Raises:
        ConfigError: Optuna is not installed.
    """
    _optuna()


def _optuna() -> Any:
    try:
        optuna = importlib.import_module("optuna")
    except ImportError as error:
        raise ConfigError(
            "searching and pruning need Optuna, which is not installed",
            where="the sweep",
            expected="pip install 'cuecard[search]'",
            hint="a grid without --prune needs nothing more",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _study(optuna: Any, axes: Mapping[str, Axis], seen: Sequence[Seen], **options: Any) -> Any:
    study = optuna.create_study(direction="minimize", **options)
    distributions = _distributions(optuna, axes)
    for trial in seen:
        study.add_trial(_trial(optuna, distributions, trial))
    return study


def _trial(optuna: Any, distributions: Mapping[str, Any], trial: Seen) -> Any:
    states = optuna.trial.TrialState
    losses = dict(trial.state.validations)
    state = {None: states.RUNNING, "pruned": states.PRUNED, "diverged": states.PRUNED}.get(
        trial.state.ended, states.COMPLETE
    )
    return optuna.trial.create_trial(
        state=state,
        value=min(losses.values()) if state == states.COMPLETE else None,
        params=trial.settings,
        distributions=dict(distributions),
        intermediate_values=losses,
    )


def _distributions(optuna: Any, axes: Mapping[str, Axis]) -> dict[str, Any]:
    return {key: _distribution(optuna.distributions, axis) for key, axis in axes.items()}


def _distribution(known: Any, axis: Axis) -> Any:
    if not isinstance(axis, Range):
        return known.CategoricalDistribution(list(axis))
    whole = isinstance(axis.low, int) and isinstance(axis.high, int)
    kind = known.IntDistribution if whole else known.FloatDistribution
    return kind(axis.low, axis.high, log=axis.log)
