"""Prompts with demonstrations: one prompt, several sets of them, the mean of the answers.

Gao, Fisch and Chen, "Making Pre-trained Language Models Better Few-shot Learners" (ACL 2021,
arXiv:2012.15723), section 6. There a model is finetuned, with demonstrations drawn for each row;
here a prompt is trained in front of several sets of demonstrations, one of them in every step, and
answers with all of them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cuecard.errors import ConfigError, Interrupted
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.evaluation.ensemble import combine
from cuecard.evaluation.evaluate import Evaluation, score_predictions
from cuecard.folder_lock import held
from cuecard.interrupts import stoppable
from cuecard.methods import PromptTuning
from cuecard.tasks import Task, TaskSpec
from cuecard.training.batches import TaskBatches
from cuecard.training.checks import FrozenProof
from cuecard.training.config import TrainConfig
from cuecard.training.few_shot.demonstrations import draw_sets, typical_rows
from cuecard.training.loop import run_loop, stopped_run
from cuecard.training.objective.validation import Validation
from cuecard.training.run import Run, Trained, finish_share, log_start
from cuecard.training.setup import TrainSetup, key_of, parts_of_runs
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.trainables.initial_method import suited_to
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.training.trainer import Trainer, raise_if_diverged
from cuecard.types import Backbone, Method, Record

COMMAND = "cuecard lm-bff"
SETS = "sets"
"""Where each set's prompt goes, in the run's folder."""
DEFAULT_SETS = 4


@dataclass(frozen=True)
class DemonstrationRun:
    """What came of it.

    Attributes:
        runs: of each set of demonstrations, with the same vectors.
        shown: the sets.
        best: the run whose set does best on validation rows.
        validation: the sets' mean, at the best step.
        test: the mean of all sets' answers; None without test rows.
        folder: the run's; None if nothing was kept.
    """

    runs: tuple[Run, ...]
    shown: tuple[tuple[Record, ...], ...]
    best: Run
    validation: Validation
    test: Evaluation | None
    folder: Path | None


class DemonstrationTraining:
    """Train one prompt in front of several sets of solved training rows.

    Every step draws one of the sets, and its rows from those that are not in it. Validation is the
    mean of all sets.

    Args:
        task: a classification that is answered in words.
        sets: how many sets of one row of each label.
        typical: whether to show none of the half of the rows that are least like the others.
        folder: the run's, with a run of each set below `sets`, and the best set's prompt; None
            keeps nothing. The same training in the folder is resumed.
        observer: called with every event of the training.

    Raises:
        ConfigError: another task, too few rows, or demonstrations that leave no room for a row.
        CuecardError: see `TrainSetup.of`.
    """

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        method: PromptTuning | None = None,
        config: TrainConfig | None = None,
        *,
        sets: int = DEFAULT_SETS,
        typical: bool = True,
        folder: str | Path | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._method = suited_to(backbone, method or PromptTuning())
        self._config = config or TrainConfig()
        _check(task, sets, self._config)
        self._backbone, self._task, self._observer = backbone, task, observer
        self._folder = None if folder is None else Path(folder)
        rows = typical_rows(backbone, task.spec, task.train) if typical else task.train
        self._shown = draw_sets(task.spec, rows, sets, self._config.seed)
        self._setups = [self._setup(shown, n) for n, shown in enumerate(self._shown, 1)]
        each = {f"set {number}": setup.parts for number, setup in enumerate(self._setups, 1)}
        self._parts = parts_of_runs(each)

    def _setup(self, shown: Sequence[Record], number: int) -> TrainSetup:
        """The training with a set's template, on the rows that it does not show."""
        backbone, task = self._backbone, self._task
        spec = task.spec
        manual = ManualPrompt(
            f"set {number}",
            spec.template,
            chat=spec.chat,
            system=spec.system,
            demonstrations=tuple(shown),
        )
        asked = manual.to_spec(spec, backbone.tokenizer, backbone.max_positions)
        left = tuple(record for record in task.train if record not in shown)
        own = replace(task, spec=asked, train=left)
        return TrainSetup.of(
            backbone, own, TrainablePrompt(self._method), self._config, name=f"set {number}"
        )

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the checkpoint of something else.
        """
        Checkpoint.load(folder, key_of(self._parts), self._parts)

    def run(self) -> DemonstrationRun:
        """Train, then test every set's prompt, whose mean is the result.

        Raises:
            TrainingError: it diverged, or the folder belongs to something else.
            FrozenError: the backbone changed.
            Interrupted: Ctrl-C; the checkpoint is saved.
        """
        parts, count = self._parts, len(self._setups)
        with held(self._folder):
            kept = Checkpoint.open(self._folder, key_of(parts), 1 + count, parts)

            def stopped() -> Interrupted:
                return stopped_run(kept, self._config.steps, self._folder, COMMAND)

            with stoppable(stopped):
                method, state = self._train(kept, stopped), kept.runs[0]
                runs = tuple(self._finish(number, method, state) for number in range(count))
                best = min(runs, key=lambda run: run.validation.loss)
                if self._folder is not None:
                    best.prompt.save(self._folder / "prompt", overwrite=True)
                seen = Validation(state.best_loss, state.best_accuracy)
                shown = tuple(self._shown)
                return DemonstrationRun(runs, shown, best, seen, self._together(runs), self._folder)

    def _train(self, kept: Checkpoint, stopped: Callable[[], Interrupted]) -> Method:
        """From the checkpoint to the end; the method holds its best step."""
        first, config = self._setups[0], self._config
        (state, *states), method = kept.runs, first.new_method()
        log = RunLog(self._folder, self._observer, keep_bytes=state.log_bytes)
        frozen = FrozenProof(self._backbone, first.rows[0], first.spec)
        if state.lr is None:
            state.lr = first.peak_lr
            log_start(log, first, method, sets=len(self._setups))
        else:
            log.tell("resume", step=state.step, steps=config.steps)
        trainer = Trainer(
            first,
            method,
            state.lr,
            state,
            log,
            score=lambda: self._score(method),
            batches=[
                TaskBatches(setup, lambda _: method.injection(), own)
                for setup, own in zip(self._setups, states, strict=True)
            ],
            drawn=self._drawn,
        )
        run_loop(
            [trainer],
            kept,
            folder=self._folder,
            every=config.checkpoint_every,
            stopped=stopped,
        )
        raise_if_diverged(state)
        frozen.check()
        return method

    def _drawn(self, step: int) -> Sequence[int]:
        """The number of a step's set: the same for the same seed and step."""
        return (random.Random(f"{self._config.seed} {step}").randrange(len(self._setups)),)

    def _score(self, method: Method) -> Validation:
        """The mean of all sets."""
        found = [setup.validate(method, brief=False) for setup in self._setups]
        return Validation(
            math.fsum(one.loss for one in found) / len(found),
            math.fsum(one.accuracy or 0.0 for one in found) / len(found),
        )

    def _finish(self, number: int, method: Method, state: State) -> Run:
        """A set's prompt at the best step, tested once, in a run of its own."""
        setup, place = self._setups[number], None
        if self._folder is not None:
            place = self._folder / SETS / f"{number + 1:03d}"
            place.mkdir(parents=True, exist_ok=True)
        trained = Trained(setup, method, state, RunLog(place), place)
        return finish_share(
            trained,
            self._method,
            len(self._setups),
            lambda: setup.validate(method, brief=False),
        )

    def _together(self, runs: Sequence[Run]) -> Evaluation | None:
        """The mean of the sets' answers to the test rows."""
        tests = [run.test for run in runs if run.test is not None]
        if len(tests) < len(runs):
            return None
        return score_predictions(
            self._task.spec,
            self._task.test,
            combine([test.predictions for test in tests]),
            seconds=math.fsum(test.seconds for test in tests),
            tokens_per_request=sum(test.tokens_per_request for test in tests),
            seed=self._config.seed,
        )


def _check(task: Task, sets: int, config: TrainConfig) -> None:
    """
    Raises:
        ConfigError: a task that shows no solved rows, no sets, or no one learning rate.
    """
    spec: TaskSpec = task.spec
    if not spec.task_kind.single_label or spec.mode != "labels":
        raise ConfigError(
            "demonstrations are of classifications that are answered in words",
            where=COMMAND,
            got=f"the kind {spec.kind}{' with a head' if spec.mode == 'head' else ''}",
            expected="a classification without a head",
        )
    if sets < 1:
        raise ConfigError("there is nothing to show", where="sets", got=sets, expected="1 or more")
    if config.lr == "auto":
        raise ConfigError(
            "prompts with demonstrations try no learning rates",
            where="lr",
            got="auto",
            expected="a number",
        )
