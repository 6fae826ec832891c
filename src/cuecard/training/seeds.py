"""One recipe trained with several seeds in shared passes: how much of its score is the seed's.

The average of prompts that start from the same numbers is a "uniform soup" (Wortsman et al., "Model
soups", ICML 2022, section 2): it answers at the cost of one prompt. Here it is kept only where it
does at least as well on validation rows as the best of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.errors import ConfigError, TrainingError
from cuecard.evaluation.report import plain
from cuecard.evaluation.seeds import AVERAGE, ENTRY, tested_numbers
from cuecard.folder_lock import held
from cuecard.interrupts import may_cut, stoppable
from cuecard.lazy import torch
from cuecard.methods import MethodSettings, PromptTuning
from cuecard.progress_bar import with_progress_bar
from cuecard.tasks import Task
from cuecard.tasks.shots import few_shot_tasks
from cuecard.training.config import Keep, TrainConfig, check_seeds, seeds_of
from cuecard.training.run import Run, Trained, find_run
from cuecard.training.storage.checkpoint import State
from cuecard.training.storage.log import FILE as LOG
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.storage.result import result_of, save_result
from cuecard.training.sweeps.runner import SweepRunner
from cuecard.training.sweeps.space import SweepConfig
from cuecard.training.trainables.initial_method import suited_to
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Backbone, Head


@dataclass(frozen=True)
class SeedRuns:
    """The runs of one recipe with several seeds.

    Attributes:
        runs: each seed's, in order, tested once at its best step.
        kept: the run of the prompt that is kept. Its prompt's metrics have the seeds' numbers under
            "seeds", and what it took is what all seeds took.
        tasks: what each seed was trained on; they differ where each has few rows of its own.
    """

    runs: tuple[Run, ...]
    kept: Run
    tasks: Mapping[int, Task]

    @property
    def numbers(self) -> Mapping[str, Any]:
        """What the seeds scored, as `cuecard.evaluation.seeds` says."""
        found: Mapping[str, Any] = self.kept.prompt.manifest.metrics[ENTRY]  # type: ignore[assignment]
        return found


@with_progress_bar
def train_seeds(
    backbone: Backbone,
    task: Task,
    method: MethodSettings | None = None,
    config: TrainConfig | None = None,
    *,
    seeds: int = 3,
    keep: Keep = "best",
    shots: int | None = None,
    folder: str | Path | None = None,
    observer: Observer | None = None,
    progress: bool = True,
) -> SeedRuns:
    """Train with the seeds config.seed, config.seed + 1, ..., and test each at its best step, once.

    They make their steps together, in one pass of the backbone as far as they fit in memory. What
    is kept is chosen on validation rows. Resumes from a checkpoint of the same runs in the folder;
    the result is bit-identical.

    Args:
        seeds: how many, two or more.
        keep: "best", the prompt that does best on validation rows, or "average", the average of
            all tensors where it does at least as well there; the seeds must start alike.
        shots: let each seed draw its own rows: so many of each label to train on, and as many
            others to validate, see `few_shot_tasks`. The seeds are then those of the protocol.
        folder: where the kept run goes, as that of `train`, and each seed's in `trials`; None keeps
            nothing.
        observer: called with every event, as of `sweep`.
        progress: without an observer, show a bar in a terminal or a notebook.

    Raises:
        ConfigError: fewer than two seeds, an average of seeds that start apart, a learning rate to
            be found; else as `train`.
        TrainingError: a seed diverged, or the folder belongs to something else.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    if seeds < 2:
        raise ConfigError(
            "to see how seeds differ takes several", where="seeds", got=seeds, expected="> 1"
        )
    return SeedTraining(
        backbone,
        task,
        method,
        config,
        seeds=seeds,
        keep=keep,
        shots=shots,
        folder=folder,
        observer=observer,
    ).run()


class SeedTraining:
    """The runs of `train_seeds`, checked as every run is; nothing is written yet.

    Attributes:
        seeds: of the runs, in order.
        tasks: what each seed is trained on.

    Args:
        spent: seconds and tokens that went before, as for a race.
        head: what a task's head starts from; zeros by default.

    Raises:
        ConfigError: settings that cannot be used.
        CuecardError: see `TrainSetup.of`.
    """

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        method: MethodSettings | None = None,
        config: TrainConfig | None = None,
        *,
        seeds: int,
        keep: Keep = "best",
        shots: int | None = None,
        folder: str | Path | None = None,
        observer: Observer | None = None,
        spent: State | None = None,
        head: Head | None = None,
    ) -> None:
        config, self._method = (
            config or TrainConfig(),
            suited_to(backbone, method or PromptTuning()),
        )
        check_seeds(seeds, keep, config, shots=shots is not None)
        self._task, self._keep, self._config = task, keep, config
        self._spent, self._shots = spent or State(), shots
        self._folder = None if folder is None else Path(folder)
        self._tell: Observer = observer or (lambda event: None)
        self.seeds = seeds_of(seeds, config, shots=shots is not None)
        self.tasks = (
            dict.fromkeys(self.seeds, task)
            if shots is None
            else few_shot_tasks(task, shots, self.seeds)
        )
        own = {f"seed {seed}": drawn for seed, drawn in self.tasks.items()}
        self._sweep = SweepRunner(
            backbone,
            {"": task} if shots is None else own,
            SweepConfig(grid={"seed": self.seeds}),
            self._method,
            config,
            self._folder,
            self._tell,
            unit="seed",
            command="cuecard train",
            head=head,
            paired=shots is not None,
        )
        self.fits = self._sweep.fits
        if keep == AVERAGE:
            self._check_starts(backbone)

    def run(self) -> SeedRuns:
        """Train, test and keep.

        Raises:
            TrainingError: a seed diverged, or the folder belongs to something else.
            FrozenError: the backbone changed.
            Interrupted: Ctrl-C; what is done is kept.
        """
        runs = self.train()
        with held(self._folder), stoppable(self._sweep.stopped):
            return SeedRuns(runs, self._found() or self._kept(runs), self.tasks)

    def train(self) -> tuple[Run, ...]:
        """Each seed's run, in order, tested once; none is chosen.

        Raises:
            CuecardError: as `run`.
        """
        self._sweep.train()
        self._check_ends()
        return tuple(self._sweep.finish_all())

    def _check_starts(self, backbone: Backbone) -> None:
        trained = TrainablePrompt(self._method)
        first, *others = (
            trained.build(
                backbone, self._task, self._config.model_copy(update={"seed": seed})
            ).state_dict()
            for seed in self.seeds
        )
        if not all(_equal(first, other) for other in others):
            raise ConfigError(
                "prompts that start apart cannot be averaged",
                where="keep",
                got="average, and a start that is drawn anew by every seed",
                expected="an init that draws nothing, such as text, a prompt to start from, or "
                "keep best",
            )

    def _check_ends(self) -> None:
        for seed, trainer in zip(self.seeds, self._sweep.trainers, strict=True):
            if (error := trainer.state.error) is not None:
                raise TrainingError(
                    "the training diverged with one of the seeds",
                    where=f"seed {seed}, {error['where']}",
                    got=error["got"],
                    expected=error["expected"],
                    hint="lower --lr",
                )

    @property
    def _best(self) -> int:
        """The place of the seed that does best on validation rows."""
        states = [trainer.state for trainer in self._sweep.trainers]
        return max(range(len(states)), key=lambda place: (states[place].best_score, -place))

    def _found(self) -> Run | None:
        """The kept run as its folder has it, whole and of these very seeds."""
        best = self._sweep.trainers[self._best]
        kept = [Trained(best.setup, best.method, best.state, RunLog(None), self._folder)]
        if self._keep == AVERAGE:
            kept.append(self._average())
        for trained in kept:
            run = find_run(trained, self._method)
            entry: Any = {} if run is None else run.prompt.manifest.metrics.get(ENTRY, {})
            whole = entry.get("seeds") == list(self.seeds)
            if run is not None and whole and (AVERAGE in entry) is (self._keep == AVERAGE):
                digest = run.prompt.digest
                self._tell({"event": "finished", "folder": str(run.folder), "digest": digest})
                return run
        return None

    def _kept(self, runs: tuple[Run, ...]) -> Run:
        """Choose on validation rows, and leave the chosen one as a run in the folder."""
        place, best = self._best, self._sweep.trainers[self._best]
        entry = self._numbers(runs) | {"kept": self.seeds[place]}
        if self._keep == AVERAGE:
            average = self._average()
            with may_cut():
                found = average.setup.validate(average.method)
            seen = {"validation_loss": found.loss, "validation_accuracy": found.accuracy}
            entry[AVERAGE] = seen
            if found.score(self._config.select) >= best.state.best_score:
                state = average.state
                state.best_loss, state.best_accuracy = found.loss, found.accuracy
                state.best_prior = found.prior
                log = self._log(place, best.state.log_bytes)
                log.write(AVERAGE, **seen, kept=True)
                return self._tested(replace(average, log=log), entry | {"kept": AVERAGE})
            self._tell({"event": AVERAGE, **seen, "kept": False})
        self._log(place)
        run = replace(runs[place], folder=self._folder, **self._took())
        run = _with_numbers(run, entry)
        if self._folder is not None:
            run.prompt.save(self._folder / "prompt", overwrite=True)
            save_result(result_of(run, best.setup.config.seed), run.test, self._folder)
        return run

    def _tested(self, average: Trained, entry: dict[str, Any]) -> Run:
        """The average as a run, tested once."""
        best, config = average.best(), average.setup.config
        prompt, test, _ = average.tested(
            best,
            method=self._method.name,
            method_config=self._method.model_dump(mode="json"),
            seed=config.seed,
        )
        fields = average.outcome(prompt, best, test) | self._took()
        run = Run(**fields, method=self._method, start_prior=average.start_prior)
        if test is not None:
            metric = entry["metric"]
            seen = {"score": float(test.metrics[metric]), "interval": test.ci95.get(metric)}
            entry[AVERAGE] = entry[AVERAGE] | seen
        run = _with_numbers(run, entry)
        average.keep(run, run.prompt.digest)
        return run

    def _numbers(self, runs: tuple[Run, ...]) -> dict[str, Any]:
        """What is kept of the seeds; no clocks, which would change the prompt's digest."""
        metric = self._task.spec.task_kind.headline
        tests = [run.test for run in runs if run.test is not None]
        return {
            "metric": metric,
            "seeds": list(self.seeds),
            **({} if self._shots is None else {"shots": self._shots}),
            # What the seeds, and their average, are chosen by.
            "validation_losses": [one.state.best_loss for one in self._sweep.trainers],
            "best_steps": [run.best_step for run in runs],
            **tested_numbers(metric, tests),
        }

    def _took(self) -> dict[str, Any]:
        """What all seeds took, and what went before: one is not chosen without the others."""
        states = [self._spent, *(trainer.state for trainer in self._sweep.trainers)]
        return {
            "cpu_seconds": sum(state.cpu_seconds for state in states),
            "seconds": sum(state.wall_seconds for state in states),
            "tokens": round(sum(state.tokens for state in states)),
        }

    def _average(self) -> Trained:
        """The average of all seeds' best steps, not yet validated."""
        trainers, best = self._sweep.trainers, self._sweep.trainers[self._best].state
        method = trainers[0].setup.new_method()
        method.load_state_dict(_mean([trainer.method.state_dict() for trainer in trainers]))
        state = State(
            step=best.step, best_step=best.best_step, lr=best.lr, start_prior=best.start_prior
        )
        return Trained(trainers[0].setup, method, state, RunLog(None), self._folder)

    def _log(self, place: int, size: int | None = None) -> RunLog:
        """The kept run's log, which begins with a seed's own.

        Args:
            size: bytes of that which are kept; all of them by default.
        """
        own = self._sweep.folder_of(place)
        if self._folder is None or own is None:
            return RunLog(None, self._tell)
        path = self._folder / LOG
        shutil.copyfile(own / LOG, path)
        kept = path.stat().st_size if size is None else size
        return RunLog(self._folder, self._tell, keep_bytes=kept)


def _with_numbers(run: Run, entry: Mapping[str, Any]) -> Run:
    """The run with what the seeds scored in its prompt's metrics."""
    metrics = {**run.prompt.manifest.metrics, ENTRY: plain(entry)}
    return replace(run, prompt=run.prompt.with_metrics(metrics))


def _mean(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of tensors by name, nested or not; what is no number is as in the first."""
    return {
        name: _mean([state[name] for state in states])
        if isinstance(value, Mapping)
        else torch.stack([state[name] for state in states]).mean(0)
        if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(
        _equal(value, other[name])
        if isinstance(value, Mapping)
        else torch.equal(value, other[name])
        for name, value in one.items()
    )
