"""Always the training rows' most common answer."""

from __future__ import annotations

from cuecard.comparison.contest.contender import Contest, Prepared, WithoutSteps
from cuecard.errors import ConfigError


class Majority(WithoutSteps):
    """What the kind of task has to beat first: of labels the most common one."""

    title = "majority class"

    def prepare(self, contest: Contest) -> Prepared:
        """The answer, of as many bytes as it has."""
        task = contest.task
        every = task.spec.task_kind.baselines(task.spec, task.train, task.test)
        found = next((each for each in every if each.key == "majority"), None)
        if found is None:
            raise ConfigError("this kind has no most common answer", got=task.spec.kind)
        predictions = found.predict()
        size = len(predictions[0].answer.encode()) if predictions else 0
        return Prepared(
            score=None,
            parameters=0,
            nbytes=size,
            cpu_seconds=0.0,
            seconds=0.0,
            shared_bytes=0,
            predictions=predictions,
        )
