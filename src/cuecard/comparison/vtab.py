"""The protocol of VTAB-1k, as papers on prompts for images follow it.

1,000 examples of each data set (Zhai et al., "A Large-scale Study of Representation Learning with
the Visual Task Adaptation Benchmark", arXiv:1910.04867). On 800 of them every point of a grid of
rates and weight decays is trained, and the other 200 choose one after the last epoch; with it a
prompt is trained on all 1,000 with each of five seeds, and tested (Jia et al., "Visual Prompt
Tuning", ECCV 2022, section 4.1 and appendix A). Here the examples and their parts have each label
by its share, and what trains is not handed the test rows, which are answered once all is trained.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuecard.comparison.sealed_task import SealedTask
from cuecard.comparison.vtab_scores import VtabScore
from cuecard.comparison.vtab_settings import VtabSettings
from cuecard.errors import Interrupted
from cuecard.evaluation.report import write_json
from cuecard.interrupts import may_cut, stoppable
from cuecard.lazy import np
from cuecard.methods import MethodSettings
from cuecard.tasks import Splits
from cuecard.tasks.splits import data_hash
from cuecard.training.loop import stopped_in
from cuecard.training.run import Run
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.sweeps.runner import SweepRunner
from cuecard.training.sweeps.space import Space, SweepConfig
from cuecard.training.sweeps.trials import Trial
from cuecard.training.trainables.initial_method import suited_to
from cuecard.types import Backbone

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMMAND = "cuecard bench vtab"
SELECT, RETRAIN, TESTS = "select", "retrain", "tests"
"""What is below the folder."""


class VtabRunner:
    """The protocol on some data sets, checked as every run is; nothing is written yet.

    Args:
        folder: where everything goes, and what a stopped run resumes from.
        tell: called with every event: "vtab" before each part, with its `phase` and `data`; else
            those of a sweep.

    Raises:
        CuecardError: see `prepare_sweep`.
    """

    def __init__(
        self,
        backbone: Backbone,
        tasks: Sequence[SealedTask],
        method: MethodSettings,
        settings: VtabSettings,
        folder: Path | None,
        tell: Observer,
    ) -> None:
        self._backbone, self._tasks, self._settings = backbone, tasks, settings
        self._method, self._folder, self._tell = suited_to(backbone, method), folder, tell
        self._selection = SweepRunner(
            backbone,
            {one.name: one.selection for one in tasks},
            settings.sweep,
            self._method,
            settings.training(settings.selection_rows),
            self._below(SELECT),
            tell,
            command=COMMAND,
        )

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the checkpoint of something else.
        """
        self._selection.fits(folder / SELECT)

    def run(self) -> tuple[VtabScore, ...]:
        """Choose settings for every data set, train with them, and only then test.

        Raises:
            TrainingError: every trial of a data set diverged, or the chosen one with another seed.
            FrozenError: the backbone changed.
            Interrupted: Ctrl-C; what is done is kept.
        """
        try:
            self._say(SELECT)
            self._selection.train()
            chosen = self._selection.chosen()
            runs = {one.name: self._retrained(one, chosen[one.name]) for one in self._tasks}
            right = {one.name: self._tested(one, runs[one.name]) for one in self._tasks}
        except Interrupted as stop:
            raise stopped_in(stop.what, self._folder, COMMAND) from stop
        return tuple(
            self._score(one, chosen[one.name], runs[one.name], right[one.name])
            for one in self._tasks
        )

    def _retrained(self, task: SealedTask, trial: Trial) -> list[Run]:
        """A run of each seed on all examples; none has seen a test row."""
        self._say(RETRAIN, task.name)
        longer = self._settings.training(self._settings.examples)
        space = Space(self._settings.sweep, self._method, longer)
        method, config = space.applied(trial.settings)
        training = SweepRunner(
            self._backbone,
            {"": task.retraining},
            SweepConfig(grid={"seed": self._settings.seeds}, together=self._settings.together),
            method,
            config,
            self._below(RETRAIN, task.name),
            self._tell,
            unit="seed",
            command=COMMAND,
        )
        training.train()
        return training.finish_all()

    def _tested(self, task: SealedTask, runs: Sequence[Run]) -> list[NDArray[Any]]:
        """[n] of each run, 1.0 where its answer to a test row is right; kept in the folder."""
        rows = data_hash(Splits((), (), task.sealed))
        key = {"rows": rows, "prompts": [run.prompt.digest for run in runs]}
        place = self._below(TESTS, f"{task.name}.json")
        found = None if place is None else _found(place, key)
        if found is None:
            self._say(TESTS, task.name)
            on_rows = RunLog(None, self._tell).count("testing", len(task.sealed) * len(runs))
            with stoppable(lambda: stopped_in("stopped during the test", None, COMMAND)), may_cut():
                tests = [
                    run.prompt.bind(self._backbone).evaluate(task.sealed, on_rows=on_rows)
                    for run in runs
                ]
            found = [test.correct for test in tests]
            if place is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                write_json({**key, "right": [each.astype(int) for each in found]}, place)
        return found

    def _score(
        self, task: SealedTask, trial: Trial, runs: Sequence[Run], right: Sequence[NDArray[Any]]
    ) -> VtabScore:
        trials = tuple(t for t in self._selection.trials if t.task == task.name)
        assert trial.accuracy is not None, task.name  # one of several labels
        return VtabScore(
            name=task.name,
            group=task.group,
            settings=trial.settings,
            validation=trial.accuracy,
            trials=trials,
            seeds=self._settings.seeds,
            right=tuple(right),
            test_rows=task.test_rows,
            trained=runs[0].trained,
            bytes=runs[0].prompt.nbytes,
            cpu_seconds=sum([t.cpu_seconds for t in trials] + [run.cpu_seconds for run in runs]),
        )

    def _say(self, phase: str, data: str | None = None) -> None:
        self._tell({"event": "vtab", "phase": phase, "data": data})

    def _below(self, *parts: str) -> Path | None:
        return None if self._folder is None else self._folder.joinpath(*parts)


def _found(place: Path, key: dict[str, Any]) -> list[NDArray[Any]] | None:
    """The answers that were kept of these very prompts and rows; None for no such."""
    try:
        kept = json.loads(place.read_text(encoding="utf-8"))
        if {name: kept[name] for name in key} != key:
            return None
        return [np.array(each, np.float64) for each in kept["right"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
