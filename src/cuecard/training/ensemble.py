"""Train an ensemble of prompts for one task, and distil one prompt from several.

Training: Lester, Al-Rfou, Constant (EMNLP 2021), section 6. Distillation: the student minimises
KL(q || p), q the mean of the teachers' label probabilities (Hinton, Vinyals, Dean 2015,
arXiv:1503.02531, at temperature 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cuecard.artifacts import Prompt
from cuecard.errors import ConfigError
from cuecard.evaluation.ensemble import Ensemble
from cuecard.methods import MethodSettings
from cuecard.tasks import Task
from cuecard.training.config import TrainConfig
from cuecard.training.run import Run
from cuecard.training.seeds import SeedTraining
from cuecard.training.storage.log import Observer
from cuecard.training.train import train
from cuecard.types import Backbone, MethodConfig


def train_ensemble(
    backbone: Backbone,
    task: Task,
    method: MethodSettings | None = None,
    config: TrainConfig | None = None,
    *,
    members: int = 5,
    folder: str | Path | None = None,
    observer: Observer | None = None,
) -> list[Run]:
    """Train prompts that differ in their seed alone: config.seed, config.seed + 1, ...

    They share one pass of the backbone per step, as far as they fit in memory together.

    Args:
        members: how many; five in the paper.
        folder: each one's run goes below `trials` in it; None keeps nothing. The same ensemble
            in the folder is resumed.

    Raises:
        ConfigError: fewer than one member; else as `sweep`.
        TrainingError: one of them diverged, or the folder belongs to something else.
    """
    if members < 1:
        raise ConfigError(
            "an ensemble needs at least one member", where="members", got=members, expected="> 0"
        )
    training = SeedTraining(
        backbone, task, method, config, seeds=members, folder=folder, observer=observer
    )
    return [*training.train()]


def distil(
    backbone: Backbone,
    task: Task,
    teachers: Sequence[Prompt],
    method: MethodConfig | None = None,
    config: TrainConfig | None = None,
    *,
    folder: str | Path | None = None,
    observer: Observer | None = None,
) -> Run:
    """Train one prompt to answer the training rows as an ensemble does on average.

    The training rows' own labels are not used; validation and test are as in `train`.

    Raises:
        ConfigError: no teachers, or teachers that make no ensemble, answer by a head or answer
            another question.
        WrongBackboneError: a teacher made for another backbone.
    """
    teacher = Ensemble([prompt.bind(backbone, check_vectors=False) for prompt in teachers])
    if teacher.spec.mode == "head":
        raise ConfigError(
            "prompts with a trained head are not distilled",
            got=f"the kind {teacher.spec.kind} with a head",
            expected="prompts that answer with label words",
        )
    if teacher.spec.labels != task.spec.labels or not task.spec.task_kind.single_label:
        raise ConfigError(
            "a teacher has other labels than the task",
            got=", ".join(teacher.spec.labels) or "texts",
            expected=", ".join(task.spec.labels) or "a task with labels",
        )
    answers = teacher.predict(task.train)
    soft = [[answer.probabilities[x] for x in task.spec.labels] for answer in answers]
    config = (config or TrainConfig()).model_copy(update={"loss": "labels"})
    return train(backbone, task, method, config, soft_labels=soft, folder=folder, observer=observer)
