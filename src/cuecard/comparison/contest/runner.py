"""Runs a contest: each contender prepared, measured and tested once; a finished one is read."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from cuecard.backbones.quantization.weights import weight_bytes
from cuecard.comparison.contest.contender import Contender, Contest, Loaded, Prepared
from cuecard.comparison.contest.general_texts import GeneralTexts, forgetting
from cuecard.comparison.contest.other_tasks import OtherScore, OtherTask
from cuecard.comparison.contest.peak_memory import peak_memory
from cuecard.comparison.contest.rates import AllDivergedError
from cuecard.comparison.contest.standing import (
    Standing,
    Switch,
    Weights,
    load_standing,
    save_standing,
)
from cuecard.errors import BackboneError, ConfigError, FrozenError
from cuecard.evaluation.evaluate import Evaluation, score_predictions
from cuecard.evaluation.report import plain
from cuecard.interrupts import TimeLimit, may_cut
from cuecard.tasks import Task
from cuecard.training.setup import key_of, run_parts
from cuecard.training.storage.log import rows_done
from cuecard.training.storage.result import facts_of
from cuecard.training.trainables.trainable import TrainablePrompt

# How often going to a task and back is timed.
_TIMES = 3


@dataclass(frozen=True)
class Ranked:
    """A contender's result with its answers to the test rows; none where it was left out."""

    standing: Standing
    test: Evaluation | None


class ContestRunner:
    """Runs the contenders of one contest, one after the other.

    Args:
        contenders: by name.
        contest: what each is given; its folder has a folder for each of them.
        general: texts to measure forgetting on; None for none.
        others: tasks to score with each contender on.
        limit: when it ends, between contenders and within them; by default once all have run.
    """

    def __init__(
        self,
        contenders: Mapping[str, Contender],
        contest: Contest,
        general: GeneralTexts | None,
        others: Sequence[OtherTask] = (),
        limit: TimeLimit | None = None,
    ) -> None:
        self._contenders, self._contest, self._general = contenders, contest, general
        self._limit = limit or TimeLimit(math.inf)
        self._others = others
        self._off: tuple[float, ...] | None = None
        self._others_off: list[Evaluation] | None = None

    def run(self) -> list[Ranked]:
        """All of them, in their order; without those that the time was not enough for.

        Raises:
            FrozenError: the backbone was not as before after one.
            TrainingError: the folder holds the result of another comparison.
            Stop, Interrupted: Ctrl-C; what is finished is kept.
        """
        found = (self._one(name, each) for name, each in self._contenders.items())
        return [each for each in found if each is not None]

    def _one(self, name: str, contender: Contender) -> Ranked | None:
        """A contender's result; None where the time was not enough, and it is resumed later."""
        given = self._contest
        folder = None if given.folder is None else given.folder / name
        contest = replace(given, folder=folder, tell=self._named(name))
        key = self._key(name, contender, contest)
        seed = given.config.seed
        if folder is not None:
            kept = load_standing(folder, key, given.task, seed)
            if kept is not None:
                contest.tell({"event": "contestant_kept"})
                return Ranked(*kept)
        if not self._limit.over:
            with self._limit.cutting():
                return self._run(Standing(name=name, title=contender.title, key=key), contest)
        contest.tell({"event": "contestant_waits"})
        return None

    def _run(self, about: Standing, contest: Contest) -> Ranked:
        contest.tell({"event": "contestant", "title": about.title})
        test: Evaluation | None = None
        try:
            standing, test = self._ran(self._contenders[about.name], contest, about)
        except FrozenError:
            raise
        except (ConfigError, BackboneError, AllDivergedError) as error:
            why = error.what if error.got is None else f"{error.what}: {error.got}"
            standing = replace(about, left_out=why)
        if contest.folder is not None:
            contest.folder.mkdir(parents=True, exist_ok=True)
            save_standing(standing, test, contest.folder)
        contest.tell({"event": "contestant_done", **_told(standing, test)})
        return Ranked(standing, test)

    def _named(self, name: str) -> Callable[[dict[str, Any]], None]:
        """Tells events with the contender's name, and ends it once the time is over."""

        def tell(event: dict[str, Any]) -> None:
            self._contest.tell({**event, "contestant": name})
            self._limit.check()

        return tell

    def _key(self, name: str, contender: Contender, contest: Contest) -> str:
        """What the result depends on, as far as it can be known before."""
        shared = run_parts(
            contest.backbone, contest.task, TrainablePrompt(contest.prompt), contest.config
        )
        try:
            own: Any = plain(contender.settings(contest))
        except (ConfigError, BackboneError) as error:
            own = str(error)
        general = None if self._general is None else key_of(self._general.ids)
        others = [each.key for each in self._others]
        del shared["method"]
        return key_of([name, shared, own, contest.rates, general, others])

    def _ran(
        self, contender: Contender, contest: Contest, about: Standing
    ) -> tuple[Standing, Evaluation]:
        device = contest.backbone.device
        with peak_memory(device) as peak:
            prepared = _prepared(contender, contest)
        standing = replace(
            about,
            untrained=contender.untrained,
            score=prepared.score,
            parameters=prepared.parameters,
            nbytes=prepared.nbytes,
            shared_bytes=(
                weight_bytes(contest.backbone.model)
                if prepared.shared_bytes is None
                else prepared.shared_bytes
            ),
            cpu_seconds=prepared.cpu_seconds,
            seconds=prepared.seconds,
            peak_bytes=peak.nbytes,
            facts=dict(plain(prepared.facts)),
        )
        with may_cut():
            measured: dict[str, Any] = {}
            if prepared.loaded is None:
                test = self._test_alone(prepared, contest)
            else:
                test, measured = self._test_loaded(prepared, contest)
        return replace(standing, test=_facts_of(test, contest.task), **measured), test

    def _test_alone(self, prepared: Prepared, contest: Contest) -> Evaluation:
        task, predictions = contest.task, prepared.predictions
        assert predictions is not None
        return score_predictions(task.spec, task.test, predictions, seed=contest.config.seed)

    def _test_loaded(
        self, prepared: Prepared, contest: Contest
    ) -> tuple[Evaluation, dict[str, Any]]:
        """The test, the weights before, during and after it, the switch, and what is forgotten."""
        assert prepared.loaded is not None
        backbone, task = contest.backbone, contest.task
        before = backbone.digest()
        there, back = [], []
        for time_ in range(_TIMES):
            with ExitStack() as stack:
                began = time.perf_counter()
                loaded = stack.enter_context(prepared.loaded())
                there.append(time.perf_counter() - began)
                if time_ == _TIMES - 1:
                    during = loaded.backbone.digest()
                    counted = rows_done(contest.tell, "testing", len(task.test))
                    test = loaded.answer(task.test, contest.config.seed, counted)
                    on = None if self._general is None else self._general.losses(loaded)
                    scores = [each.answered(loaded) for each in self._others]
                began = time.perf_counter()
            back.append(time.perf_counter() - began)
        weights = Weights(before, during, backbone.digest())
        if weights.after != before:
            raise FrozenError(
                "the backbone changed in a comparison",
                where=backbone.name,
                got="other parameters",
                expected="the same bytes after every contestant",
            )
        switch = Switch(statistics.median(there), statistics.median(back), prepared.mixes)
        measured: dict[str, Any] = {"weights": weights, "switch": switch}
        if self._general is not None and on is not None:
            measured["forgetting"] = forgetting(self._general, self._frozen_losses(), on)
        frozen = zip(self._others, self._frozen_scores(), scores, strict=True)
        measured["others"] = tuple(OtherScore.of(*each) for each in frozen)
        return test, measured

    def _frozen_scores(self) -> Sequence[Evaluation]:
        """On the other tasks with nothing on."""
        if self._others_off is None:
            frozen = Loaded(self._contest.backbone, self._contest.task.spec)
            self._others_off = [each.answered(frozen) for each in self._others]
        return self._others_off

    def _frozen_losses(self) -> Sequence[float]:
        """Of the general texts with nothing on."""
        assert self._general is not None
        if self._off is None:
            self._off = self._general.losses(
                Loaded(self._contest.backbone, self._contest.task.spec)
            )
        return self._off


def _prepared(contender: Contender, contest: Contest) -> Prepared:
    """Prepared; what makes no optimiser steps may be cut off anywhere."""
    if contender.trains:
        return contender.prepare(contest)
    with may_cut():
        return contender.prepare(contest)


def _facts_of(test: Evaluation, task: Task) -> dict[str, Any]:
    """What is kept of a test beside its answers: also its score, for those who watch."""
    metric = task.spec.task_kind.headline
    score = {"score": float(test.metrics[metric]), "ci95": plain(test.ci95.get(metric))}
    return {**facts_of(test), "metric": metric, **score}


def _told(standing: Standing, test: Evaluation | None) -> dict[str, Any]:
    if test is None:
        return {"title": standing.title, "left_out": standing.left_out}
    return {
        "title": standing.title,
        "validation": standing.score,
        "test": test.score,
        "cpu_seconds": round(standing.cpu_seconds, 2),
    }
