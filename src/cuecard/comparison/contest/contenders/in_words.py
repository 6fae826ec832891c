"""The frozen backbone, asked in words: the best of several prompts on validation rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from cuecard.comparison.contest.contender import Contest, Loaded, Prepared, WithoutSteps
from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.manual import (
    ManualPrompt,
    default_manual_prompts,
    demonstration_counts,
    with_demonstrations,
)
from cuecard.evaluation.baselines.selection import Choice, ManualTrial, select_manual
from cuecard.evaluation.evaluate import evaluate
from cuecard.tasks import Task, draw_rows
from cuecard.tasks.kinds.base import HandWritten
from cuecard.types import Backbone

# Draws of demonstrations for each number of them: which ones are shown matters much.
_DRAWS = 3


class ZeroShot(WithoutSteps):
    """The best hand-written prompt, without a solved row, as it reads best."""

    title = "zero-shot"
    untrained = True

    def prepare(self, contest: Contest) -> Prepared:
        """Choose it on validation rows; of a kind with one way to ask, that."""
        spec = contest.task.spec
        if spec.task_kind.hand_written is None and spec.mode != "head":
            return _bare(contest)
        task, _ = task_in_words(contest)
        return _chosen(contest, default_manual_prompts(task.spec))


class InContext(WithoutSteps):
    """The best prompt with solved training rows: how many, which of several draws, how read."""

    title = "in-context"
    untrained = True

    def prepare(self, contest: Contest) -> Prepared:
        """Choose it on validation rows."""
        task, _ = task_in_words(contest)
        bare = ManualPrompt("template", task.spec.template, chat=task.spec.chat)
        counts = demonstration_counts(task.spec, task.train)
        seed = contest.config.seed
        tried = with_demonstrations(bare, task.train, counts, task.spec, seed, draws=_DRAWS)
        return _chosen(contest, tried)


def task_in_words(contest: Contest) -> tuple[Task, HandWritten]:
    """The task in words, and how prompts are chosen.

    Raises:
        ConfigError: a kind that is not asked in words.
    """
    task = contest.unsealed
    how = task.spec.task_kind.hand_written
    if how is None:
        raise ConfigError("this kind of task is not asked in words", got=task.spec.kind)
    return replace(task, spec=task.spec.in_words), how


def _chosen(contest: Contest, candidates: Sequence[ManualPrompt]) -> Prepared:
    task, how = task_in_words(contest)
    cpu, began = time.process_time(), time.perf_counter()

    def told(trial: ManualTrial, number: int, total: int) -> None:
        contest.tell(
            {"event": "candidate", "i": number, "n": total, "rows": trial.rows}
            | {"name": trial.name, "variant": trial.variant, "score": trial.score}
        )

    choice = select_manual(
        contest.backbone,
        task.spec,
        draw_rows(task.validation, how.rows, "by hand"),
        candidates,
        rounds=how.rounds,
        on_trial=told,
    )
    return Prepared(
        score=choice.score,
        parameters=0,
        nbytes=len(choice.spec.template.encode()) + 4 * len(choice.prior or ()),
        cpu_seconds=time.process_time() - cpu,
        seconds=time.perf_counter() - began,
        loaded=partial(_loaded, contest.backbone, choice),
        mixes=True,
        facts={
            "prompt": choice.manual.name,
            "variant": choice.variant,
            "template": choice.spec.template,
            "demonstrations": len(choice.manual.demonstrations),
            "tried": len({trial.name for trial in choice.table}),
        },
    )


def _bare(contest: Contest) -> Prepared:
    """The template as it is."""
    backbone, task = contest.backbone, contest.task
    cpu, began = time.process_time(), time.perf_counter()
    seen = evaluate(backbone, task.spec, task.validation)

    @contextmanager
    def load() -> Iterator[Loaded]:
        yield Loaded(backbone, task.spec)

    return Prepared(
        score=float(seen.metrics[task.spec.task_kind.headline]),
        parameters=0,
        nbytes=len(task.spec.template.encode()),
        cpu_seconds=time.process_time() - cpu,
        seconds=time.perf_counter() - began,
        loaded=load,
        mixes=True,
        facts={"template": task.spec.template},
    )


@contextmanager
def _loaded(backbone: Backbone, choice: Choice) -> Iterator[Loaded]:
    yield Loaded(backbone, choice.spec, prior=choice.prior, stop=choice.stop)
