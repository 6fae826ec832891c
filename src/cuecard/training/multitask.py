"""Multitask prompt tuning: source tasks that share one prompt, taught by a prompt of each alone.

Loss: mean over the tasks k of L_task(k) + lambda (KL(teacher || student) over the answers + mean
squared difference of the hidden states), lambda 0.9, with the student P_k = P* o (u_k (x) v_k) and
the teacher a prompt that was trained for task k alone.
Paper: Wang et al., "Multitask Prompt Tuning Enables Parameter-Efficient Transfer Learning" (ICLR
2023, arXiv:2303.02861), sections 3.1 and 3.2; lambda: appendix A. There a step has rows of 2 to all
of the tasks, drawn anew, in proportion to their sizes. The sampling "stochastic" draws the tasks as
there; by default every step has one batch of each. Either way a small task weighs as a large one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cuecard.artifacts import Prompt, check_backbone
from cuecard.errors import ConfigError, Interrupted
from cuecard.folder_lock import held
from cuecard.interrupts import stoppable
from cuecard.methods import MPT, PromptTuning
from cuecard.plain_files import is_file_name
from cuecard.progress_bar import with_progress_bar
from cuecard.tasks import Task
from cuecard.training.checks import check_words
from cuecard.training.config import TrainConfig, check_no_rates
from cuecard.training.loop import stopped_in
from cuecard.training.multitask_trainer import COMMAND, Multitask, MultitaskTrainer, Sampling
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.log import Observer
from cuecard.training.sweeps.runner import SweepRunner, of_trials
from cuecard.training.sweeps.space import SweepConfig
from cuecard.training.trainables.initial_method import suited_to
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Backbone, Injection

DISTIL = 0.9
TEACHERS = "teachers"


@with_progress_bar
def multitask(
    backbone: Backbone,
    tasks: Mapping[str, Task],
    method: MPT | None = None,
    config: TrainConfig | None = None,
    *,
    distil: float = DISTIL,
    sampling: Sampling = "all",
    teachers: Mapping[str, Prompt] | None = None,
    folder: str | Path | None = None,
    observer: Observer | None = None,
    progress: bool = True,
) -> Multitask:
    """Train one prompt for several tasks, with a rank-one matrix of each.

    All tasks make each step in one pass of the backbone, and their teachers in a second one without
    gradients. The best step is that of the lowest mean validation loss. Resumes from a checkpoint
    of the same run in the folder; the result is bit-identical.

    Args:
        tasks: by name, which is also a folder's name.
        method: the shared prompt's settings; by default it starts from the vocabulary.
        config: how to train, the teachers too.
        sampling: the tasks of a step: all, or stochastic: 2 to all of them, drawn anew each time.
        distil: lambda; 0 learns from the labels alone, without teachers.
        teachers: trained prompts by task; by default prompt tuning trains one of each.
        observer: called with every event of the log, with "resume" where a run is resumed, and with
            "teachers" and "teacher_validation" while there are none yet.
        progress: without an observer, show a bar in a terminal or a notebook.

    Raises:
        ConfigError: fewer than two tasks, a name that is not a folder's, or other settings that
            cannot be used.
        DataError: no training or no validation rows.
        TrainingError: it diverged, or the folder belongs to another run.
        WrongBackboneError: a teacher of another backbone.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    method, config = suited_to(backbone, method or MPT(init="vocabulary")), config or TrainConfig()
    setups = multitask_setups(backbone, tasks, method, config, distil)
    return train_multitask(
        setups,
        method,
        distil=distil,
        sampling=sampling,
        teachers=teachers,
        folder=folder,
        observer=observer,
    )


def train_multitask(
    setups: Mapping[str, TrainSetup],
    method: MPT,
    *,
    distil: float = DISTIL,
    sampling: Sampling = "all",
    teachers: Mapping[str, Prompt] | None = None,
    folder: str | Path | None = None,
    observer: Observer | None = None,
) -> Multitask:
    """`multitask`, from its set-ups.

    Raises:
        ConfigError: teachers that do not fit the tasks.
        TrainingError: it diverged, or the folder belongs to another run or another process.
        WrongBackboneError: a teacher of another backbone.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    place = None if folder is None else Path(folder)
    first = next(iter(setups.values()))
    backbone, config = first.backbone, first.config
    tasks = {name: setup.task for name, setup in setups.items()}
    taught: Mapping[str, Injection] = {}
    if distil and teachers is not None:
        taught = _given(backbone, tasks, teachers)
    with held(place):
        if distil and teachers is None:
            taught = _train_teachers(backbone, tasks, method, config, place, observer)
        with stoppable(lambda: stopped_in("stopped before every task was tested", place, COMMAND)):
            trainer = MultitaskTrainer(setups, method, distil, taught, place, observer, sampling)
            return trainer.run()


def _train_teachers(
    backbone: Backbone,
    tasks: Mapping[str, Task],
    method: MPT,
    config: TrainConfig,
    folder: Path | None,
    observer: Observer | None,
) -> Mapping[str, Injection]:
    """The first stage: a prompt of each task alone, all in shared passes."""
    settings = method.model_dump(exclude={"factors_lr"})
    own = PromptTuning.model_validate({**settings, "prompt": method.prompt})
    names = list(tasks)
    told = of_trials(observer or (lambda event: None), TEACHERS)

    def tell(event: dict[str, Any]) -> None:
        if observer is None:
            return
        if event["event"] == "sweep" and event["done"] < event["trials"]:
            observer({"event": "teachers", "tasks": len(tasks), "together": event["together"]})
        elif event["event"] == "validation":
            task = names[event["trial"] % len(names)]
            told({**event, "event": "teacher_validation", "task": task})

    place = None if folder is None else folder / TEACHERS
    alone = SweepConfig(grid={"seed": (config.seed,)})
    sweep = SweepRunner(backbone, tasks, alone, own, config, place, tell)
    try:
        sweep.train()
    except Interrupted as stop:
        raise stopped_in(f"{stop.what}, of the teachers", folder, COMMAND) from stop
    return sweep.injections()


def _given(
    backbone: Backbone, tasks: Mapping[str, Task], teachers: Mapping[str, Prompt]
) -> dict[str, Injection]:
    """The teachers' injections, if there is one of every task, and for its task."""
    if set(teachers) != set(tasks):
        raise ConfigError(
            "not one teacher for each task",
            where="teachers",
            got=", ".join(teachers) or "none",
            expected=", ".join(tasks),
        )
    for name, teacher in teachers.items():
        check_backbone(teacher.manifest.backbone, backbone, f"the teacher of {name}")
        if not teacher.spec.is_same(tasks[name].spec, backbone.tokenizer):
            raise ConfigError(
                "a teacher was trained for another task",
                where=f"the teacher of {name}",
                got=repr(teacher.spec.template),
                expected=f"the task's own template: {tasks[name].spec.template!r}",
            )
    return {name: teachers[name].injection() for name in tasks}


def multitask_setups(
    backbone: Backbone,
    tasks: Mapping[str, Task],
    method: MPT,
    config: TrainConfig,
    distil: float,
) -> dict[str, TrainSetup]:
    """Each task's set-up, which validates as often as the settings say.

    Raises:
        ConfigError, DataError, BackboneError: as `TrainSetup.of`, and for fewer than two tasks, a
            name that is not a folder's, or a task that does not answer in words.
    """
    if len(tasks) < 2:
        raise ConfigError(
            "multitask training needs tasks", where="tasks", got=len(tasks), expected="two or more"
        )
    if not (math.isfinite(distil) and distil >= 0):
        raise ConfigError(
            "the teachers' weight must be 0 or more",
            where="distil",
            got=distil,
            expected="0 or more",
        )
    check_no_rates(config, "multitask training")
    for name, task in tasks.items():
        if not is_file_name(name):
            raise ConfigError("a task's name is not a folder's", where="tasks", got=repr(name))
        check_words(task.spec, f"tasks, {name}")
    prompt = TrainablePrompt(method)
    return {
        name: TrainSetup.of(backbone, task, prompt, config, name=name, fixed_validations=True)
        for name, task in tasks.items()
    }
