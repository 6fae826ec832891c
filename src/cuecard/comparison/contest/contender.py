"""What every contender of a contest is given, and what each comes to before the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from cuecard.evaluation.evaluate import Evaluation, evaluate
from cuecard.evaluation.loglikelihood import OnRows
from cuecard.methods import MethodSettings
from cuecard.tasks import Task, TaskSpec
from cuecard.training.config import TrainConfig
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.log import Observer
from cuecard.training.trainables.lora import LoraSettings
from cuecard.types import Backbone, Head, Injection, Prediction, Record, Slot


@dataclass(frozen=True)
class Contest:
    """What every contender is given.

    Attributes:
        task: its test rows are for the one test, and for features that need no labels.
        config: how what is trained is trained, but for the learning rate.
        rates: how many learning rates each tries.
        prompt: the settings of prompt tuning.
        lora: the settings of LoRA.
        heads: whether in a race a head may tell labels apart that have words.
        encoder: makes the sentence vectors; None for the backbone itself.
        folder: a contender's own, for what it resumes from; None keeps nothing.
    """

    backbone: Backbone
    task: Task
    config: TrainConfig
    rates: int
    prompt: MethodSettings
    lora: LoraSettings
    heads: bool = False
    encoder: Backbone | None = None
    folder: Path | None = None
    tell: Observer = lambda event: None

    @property
    def unsealed(self) -> Task:
        """The task without test rows, which nothing that is trained or chosen may see."""
        return replace(self.task, test=())


@dataclass(frozen=True)
class Loaded:
    """A backbone as it answers a contender's task.

    Attributes:
        backbone: its weights are the contender's as long as it is loaded.
        spec, injection, slot, prior, stop, head: as in `evaluate`.
    """

    backbone: Backbone
    spec: TaskSpec
    injection: Injection | None = None
    slot: Slot = "prefix"
    prior: Mapping[str, float] | None = None
    stop: str | None = None
    head: Head | None = None

    def answer(self, records: Sequence[Record], seed: int, on_rows: OnRows | None) -> Evaluation:
        """The evaluation of some rows.

        Args:
            seed: of its intervals.
        """
        return evaluate(
            self.backbone,
            self.spec,
            records,
            self.injection,
            slot=self.slot,
            prior=self.prior,
            stop=self.stop,
            head=self.head,
            seed=seed,
            on_rows=on_rows,
        )


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a contender came to, chosen on validation rows.

    Attributes:
        score: on validation rows, of the metric that it was chosen by; None where there was no
            choice.
        parameters: how many numbers are the task's own.
        nbytes: what one more task costs on disk and in memory.
        cpu_seconds, seconds: of fitting, training and choosing, over all sittings.
        shared_bytes: memory that all tasks share; None for the backbone's.
        predictions: of the test rows, where no backbone is asked.
        loaded: lets the backbone answer the task for a while; None where none is asked.
        mixes: whether rows of other tasks can be answered in the same batch.
        facts: what else there is to say, as JSON knows it.
    """

    score: float | None
    parameters: int
    nbytes: int
    cpu_seconds: float
    seconds: float
    shared_bytes: int | None = None
    predictions: Sequence[Prediction] | None = None
    loaded: Callable[[], AbstractContextManager[Loaded]] | None = None
    mixes: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


class Contender(Protocol):
    """A way to do a task.

    Attributes:
        title: its name in tables.
        untrained: whether it asks the frozen backbone in words alone: the others' reference.
        trains: whether it makes optimiser steps.
        races: whether what it trains, and at which rates, is found by a race.
    """

    @property
    def title(self) -> str: ...

    @property
    def untrained(self) -> bool: ...

    @property
    def trains(self) -> bool: ...

    @property
    def races(self) -> bool: ...

    def settings(self, contest: Contest) -> Mapping[str, Any]:
        """What its result depends on, beside the rows, the backbone and how all are trained."""
        ...

    def setup(self, contest: Contest) -> TrainSetup | None:
        """Its training at the default rate; None for one that is not trained by steps.

        Of one that races it is one that takes about as long.

        Raises:
            ConfigError: the backbone or the task cannot do it.
        """
        ...

    def prepare(self, contest: Contest) -> Prepared:
        """Fit, train and choose it; the test rows' labels are not looked at.

        Raises:
            ConfigError: the backbone or the task cannot do it.
            AllDivergedError: it diverged at every rate.
        """
        ...


class WithSteps:
    """What contenders have in common that make optimiser steps."""

    untrained = False
    trains = True
    races = False


class WithoutSteps:
    """What contenders have in common that make no optimiser steps."""

    untrained = False
    trains = False
    races = False

    def settings(self, contest: Contest) -> Mapping[str, Any]:
        """None."""
        return {}

    def setup(self, contest: Contest) -> TrainSetup | None:
        """None: it is chosen or fitted, not trained by steps."""
        return None
