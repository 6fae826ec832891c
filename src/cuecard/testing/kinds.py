"""What every kind of task promises, on rows of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from cuecard.errors import DataError
from cuecard.evaluation.evaluate import score_predictions
from cuecard.methods.prompt_tuning import PromptTuning
from cuecard.tasks import Task, TaskSpec
from cuecard.testing.holds import holds, refuses, run_checks, same
from cuecard.testing.tiny import tiny_backbone
from cuecard.training import TrainConfig
from cuecard.training.train import train


def check_kind(task: Task) -> None:
    """Every check of the kind of a task.

    Args:
        task: of that kind, with some forty rows or more, of which each split has some.

    Raises:
        AssertionError: what does not hold.
    """
    run_checks(KIND_CHECKS, task)


def check_description(task: Task) -> None:
    """It says what it is, and its settings come back from what prompts keep."""
    kind, spec = task.spec.task_kind, task.spec
    holds(bool(kind.about), "`about` says nothing")
    same(len(kind.headings), 2, "the number of `headings`")
    holds(kind.instruction(spec).endswith(".\n\n"), "`instruction` is no sentence of its own")
    own = {*kind.settings.model_fields} & {*TaskSpec.model_fields}
    same(sorted(own), [], "its own settings that every task has")
    again = TaskSpec.parse(json.loads(json.dumps(spec.model_dump(mode="json"))))
    same(again, spec, "a task that was written and read")


def check_targets(task: Task) -> None:
    """A row has a target, a goal or a region where its record has one, else none."""
    spec, tokenizer = task.spec, tiny_backbone(_family(task)).tokenizer
    for record in (task.train[0], replace(task.train[0], target=None)):
        for row in spec.encode_all(record, tokenizer):
            holds(
                bool(row.target or row.goal) is (record.target is not None),
                f"a row of a record with the target {record.target!r}: {row}",
            )
    refuses(
        lambda: spec.task_kind.check_target(spec, replace(task.train[0], target=None)),
        DataError,
        "a record without a target is taken to be scored",
    )


def check_texts(task: Task) -> None:
    """A target and its text are the same target."""
    spec = task.spec
    for record in task.train[:9]:
        text = replace(record, target=spec.target_text(record))
        same(spec.with_value(text), record, "a target that was told as a text and read")


def check_scores(task: Task) -> None:
    """There is something to beat, and it is scored by the kind's metrics."""
    kind, spec = task.spec.task_kind, task.spec
    baselines = list(kind.baselines(spec, task.train, task.test))
    holds(bool(baselines), "there is no baseline")
    same(len({each.key for each in baselines}), len(baselines), "the number of different baselines")
    for each in baselines:
        found = score_predictions(spec, task.test, each.predict(), resamples=50)
        same(found.primary, kind.metric, "the metric that counts")
        missing = {kind.metric, kind.second} - {*found.metrics}
        same(sorted(missing), [], f"metrics that {each.name} lacks")


def check_training(task: Task) -> None:
    """A prompt is trained, and every test row is answered and scored."""
    family = _family(task)
    method: Any = PromptTuning(length=2, init="random")
    run = train(tiny_backbone(family), task, method, TrainConfig(steps=2, batch_rows=4))
    holds(run.test is not None, "no test row was answered")
    assert run.test is not None  # for type checkers
    same(len(run.test.predictions), len(task.test), "the number of answers")
    same(run.test.primary, task.spec.task_kind.metric, "the metric that counts")


KIND_CHECKS: Mapping[str, Callable[[Task], None]] = MappingProxyType(
    {
        "description": check_description,
        "targets": check_targets,
        "texts": check_texts,
        "scores": check_scores,
        "training": check_training,
    }
)
"""Name -> check, for tests that have one case for each."""


def _family(task: Task) -> str:
    """The family of tiny backbones that can answer."""
    return "masked" if task.spec.mode == "vector" else "causal"
