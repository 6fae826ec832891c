"""Pattern-exploiting training with prompts: several patterns, unlabelled rows, one prompt.

Schick and Schütze, "Exploiting Cloze Questions for Few Shot Text Classification and Natural
Language Inference" (EACL 2021, arXiv:2001.07676), section 3. There a model is finetuned for each
pattern; here a prompt is trained for each, which starts from the pattern's words, on one frozen
model and in shared passes. Their language modelling loss, which keeps a finetuned model from
forgetting, has nothing to keep here. Generations of growing sets (iPET, section 3.4):
`generations.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cuecard.errors import Interrupted
from cuecard.evaluation.predict import predict
from cuecard.interrupts import may_cut, stoppable
from cuecard.lazy import np
from cuecard.methods import PromptTuning
from cuecard.tasks import Task, TaskSpec, content_hash
from cuecard.tasks.predictions import as_predictions, label_scores, log_softmax
from cuecard.training.config import TrainConfig
from cuecard.training.few_shot.generations import GROWTH, some_others, sure_rows
from cuecard.training.few_shot.patterns import (
    check_generations,
    check_patterns,
    with_template,
    words_of,
)
from cuecard.training.loop import stopped_in
from cuecard.training.objective.validation import Validation
from cuecard.training.run import Run
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.log import Observer
from cuecard.training.sweeps.runner import SweepRunner, of_trials
from cuecard.training.sweeps.space import SweepConfig
from cuecard.training.train import train_prompt
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.training.trainer import Trainer, raise_if_diverged
from cuecard.types import Backbone, InputTokens, Prediction, Record, Split

COMMAND = "cuecard pet"
TEMPERATURE = 2.0
"""That of the paper's soft labels and of what learns them."""
PATTERNS = "patterns"
"""Where the patterns' runs go, in the run's folder; those of the second generation in
`generation-2` there, and so on."""


@dataclass(frozen=True, slots=True)
class PatternFound:
    """A pattern's prompt.

    Attributes:
        pattern: the template.
        weight: its share in the soft labels: the training accuracy of its untrained start.
        validation: of its best step.
        rows: the training rows that it learnt from.
    """

    pattern: str
    weight: float
    validation: Validation
    rows: int


@dataclass(frozen=True)
class PetRun:
    """What came of it.

    Attributes:
        run: the distilled prompt's, tested once.
        patterns: the patterns' prompts of the last generation, in order; none was tested.
        teacher: the pattern that the distilled prompt has, and from whose prompt it starts.
        unlabelled: the rows that it learnt from.
        generations: the patterns' prompts of every generation, the first one first.
    """

    run: Run
    patterns: tuple[PatternFound, ...]
    teacher: PatternFound
    unlabelled: int
    generations: tuple[tuple[PatternFound, ...], ...]


class PatternTraining:
    """Train a prompt for each pattern, label rows with all of them, and distil one prompt.

    Args:
        task: the labelled rows, and what is asked; its template is not used.
        unlabelled: rows to label. Those that validation or test rows are copies of are left out.
        patterns: templates with the same fields, two or more.
        method: the patterns' prompts; each starts from its pattern's words.
        config: of the patterns' trainings and of the distillation; the loss is that over labels.
        temperature: of the soft labels and of the student's answers to them.
        generations: how often the patterns' prompts are trained: once, or each time on more rows,
            which others have labelled (iPET).
        growth: how many times as many rows in every generation.
        folder: the run's: the distilled prompt's run, with the patterns' below `patterns`; None
            keeps nothing. The same training in the folder is resumed.
        observer: called with every event.

    Raises:
        ConfigError: patterns that cannot be used together, another task than a classification by
            words, a start that is not the patterns', or generations that do not grow.
        CuecardError: see `TrainSetup.of`.
    """

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        unlabelled: Sequence[Record],
        patterns: Sequence[str],
        method: PromptTuning | None = None,
        config: TrainConfig | None = None,
        *,
        temperature: float = TEMPERATURE,
        generations: int = 1,
        growth: float = GROWTH,
        folder: str | Path | None = None,
        observer: Observer | None = None,
    ) -> None:
        method = method or PromptTuning()
        check_patterns(task.spec, patterns, method, temperature)
        check_generations(generations, growth)
        self._generations, self._growth = generations, growth
        self._backbone, self._task, self._method = backbone, task, method
        self._unlabelled, self._temperature = unlabelled, temperature
        self._config = (config or TrainConfig()).model_copy(update={"loss": "labels"})
        self._folder = None if folder is None else Path(folder)
        self._observer = observer
        self._specs = {text: with_template(task.spec, text) for text in patterns}
        self._starts = SweepConfig(grid={"method.text": tuple(map(words_of, patterns))})
        self._first = self._sweep([replace(task, spec=spec) for spec in self._specs.values()], 1)

    def _sweep(self, tasks: Sequence[Task], generation: int) -> SweepRunner:
        """The training of every pattern's prompt, each on its task."""
        name = PATTERNS if generation == 1 else f"{PATTERNS}/generation-{generation}"
        return SweepRunner(
            self._backbone,
            {f"pattern {number}": task for number, task in enumerate(tasks, 1)},
            self._starts,
            self._method,
            self._config,
            None if self._folder is None else self._folder / name,
            of_trials(self._observer or (lambda event: None), name),
            unit="pattern",
            command=COMMAND,
            paired=True,
        )

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the checkpoint of something else.
        """
        self._first.fits(folder / PATTERNS)

    def run(self) -> PetRun:
        """Train, label and distil.

        Raises:
            TrainingError: a prompt diverged, or the folder belongs to something else.
            FrozenError: the backbone changed.
            Interrupted: Ctrl-C; the checkpoint is saved.
        """
        try:
            return self._run()
        except Interrupted as stop:  # of a part, whose folder is not the one to resume
            raise stopped_in(stop.what, self._folder, COMMAND) from stop

    def _run(self) -> PetRun:
        weights: list[float] = []
        history: list[tuple[PatternFound, ...]] = []
        sweep = self._first
        for generation in range(1, self._generations + 1):
            sweep.train()
            for trainer in sweep.trainers:
                raise_if_diverged(trainer.state)
            with stoppable(sweep.stopped), may_cut():
                weights = weights or [self._weight(trainer) for trainer in sweep.trainers]
                answers = [self._answers(trainer) for trainer in sweep.trainers]
            history.append(self._found(sweep.trainers, weights))
            if generation < self._generations:
                sweep = self._sweep(self._grown(answers, weights, generation), generation + 1)
        trainers, found = sweep.trainers, history[-1]
        best = max(range(len(trainers)), key=lambda n: (trainers[n].state.best_score, -n))
        labelled = soft_labels(answers, weights, self._temperature)
        setup, method = self._student(trainers[best], labelled)
        run = train_prompt(setup, method, folder=self._folder, observer=self._observer)
        return PetRun(run, found, found[best], len(setup.task.train), tuple(history))

    def _found(
        self, trainers: Sequence[Trainer], weights: Sequence[float]
    ) -> tuple[PatternFound, ...]:
        return tuple(
            PatternFound(text, weight, _best_of(trainer), len(trainer.setup.task.train))
            for text, weight, trainer in zip(self._specs, weights, trainers, strict=True)
        )

    def _grown(
        self, answers: Sequence[Sequence[Prediction]], weights: Sequence[float], generation: int
    ) -> list[Task]:
        """The tasks of the next generation; see `generations.py`."""
        tasks = []
        for number, spec in enumerate(self._specs.values()):
            rng = np.random.default_rng((self._config.seed, generation, number))
            others = some_others(number, len(self._specs), rng)
            chosen = soft_labels([answers[n] for n in others], [weights[n] for n in others], 1.0)
            growth = self._growth**generation
            more = sure_rows(self._task.train, self._unlabelled, chosen, growth, rng)
            tasks.append(self._with_rows(spec, [*self._task.train, *more]))
        return tasks

    def _with_rows(self, spec: TaskSpec, train: Sequence[Record]) -> Task:
        """The task with other training rows, without copies of validation and test rows."""
        given: dict[Split, Sequence[Record]] = {
            "train": train,
            "validation": self._task.validation,
        }
        if self._task.test:
            given["test"] = self._task.test
        return Task.from_records(spec, given, split=(1.0, 0.0, 0.0))

    def _weight(self, trainer: Trainer) -> float:
        """The training accuracy of the untrained start."""
        setup = trainer.setup
        found = setup.validate(setup.new_method(), self._task.train, brief=False)
        return float(found.accuracy or 0.0)

    def _answers(self, trainer: Trainer) -> list[Prediction]:
        setup, calibrated = trainer.setup, self._config.calibrate
        return predict(
            self._backbone,
            setup.spec,
            self._unlabelled,
            trainer.method.injection(),
            slot=setup.slot,
            prior=trainer.state.best_prior if calibrated else None,
        )

    def _student(
        self, teacher: Trainer, labelled: Sequence[Prediction]
    ) -> tuple[TrainSetup, PromptTuning]:
        """The distillation's set-up: the best pattern's prompt goes on, on the soft labels."""
        rows = [
            replace(record, target=found.answer)
            for record, found in zip(self._unlabelled, labelled, strict=True)
        ]
        task = self._with_rows(teacher.setup.spec, rows)
        soft = {
            content_hash(row): [found.probabilities[label] for label in task.spec.labels]
            for row, found in zip(rows, labelled, strict=True)
        }
        start = teacher.method.injection()
        assert isinstance(start, InputTokens)
        changes = {"init": "prompt", "prompt": start.vectors.detach().clone(), "length": None}
        method = PromptTuning(**{**self._method.model_dump(), "text": None, **changes})
        setup = TrainSetup.of(self._backbone, task, TrainablePrompt(method), self._config)
        wanted = [soft[content_hash(record)] for record in task.train]
        return setup.with_soft_labels(wanted, self._temperature), method


def soft_labels(
    each: Sequence[Sequence[Prediction]], weights: Sequence[float], temperature: float = TEMPERATURE
) -> list[Prediction]:
    """The weighted mean of several prompts' scores [prompts][rows], as probabilities.

    softmax(sum_p w_p log p_p(l | x) / (T sum_p w_p)), section 3.2 of the paper. Where no prompt has
    a weight, all weigh alike.
    """
    total = math.fsum(weights)
    shares = [w / total for w in weights] if total > 0 else [1 / len(weights)] * len(weights)
    labels, _ = label_scores(each[0])
    logs = np.stack([log_softmax(label_scores(one)[1]) for one in each])
    mean = np.tensordot(np.asarray(shares), logs, axes=1) / temperature
    return as_predictions(mean, labels)


def _best_of(trainer: Trainer) -> Validation:
    state = trainer.state
    return Validation(state.best_loss, state.best_accuracy, prior=state.best_prior)
