"""Pattern-exploiting training with prompts: several patterns, unlabelled rows, one prompt.

Schick and Schütze, "Exploiting Cloze Questions for Few Shot Text Classification and Natural
Language Inference" (EACL 2021, arXiv:2001.07676), section 3. There a model is finetuned for each
pattern; here a prompt is trained for each, which starts from the pattern's words, on one frozen
model and in shared passes. Their language modelling loss, which keeps a finetuned model from
forgetting, has nothing to keep here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cuecard.errors import ConfigError, Interrupted
from cuecard.evaluation.predict import predict
from cuecard.interrupts import may_cut, stoppable
from cuecard.lazy import np
from cuecard.methods import PromptTuning
from cuecard.tasks import Task, TaskSpec, Template, content_hash
from cuecard.tasks.predictions import as_predictions, label_scores, log_softmax
from cuecard.training.config import TrainConfig
from cuecard.training.loop import stopped_in
from cuecard.training.objective.validation import Validation
from cuecard.training.run import Run
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.log import Observer
from cuecard.training.sweeps.runner import SweepRunner
from cuecard.training.sweeps.space import SweepConfig
from cuecard.training.train import train_prompt
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.training.trainer import Trainer, raise_if_diverged
from cuecard.types import Backbone, InputTokens, Prediction, Record, Split

COMMAND = "cuecard pet"
TEMPERATURE = 2.0
"""That of the paper's soft labels and of what learns them."""
PATTERNS = "patterns"
"""Where the patterns' runs go, in the run's folder."""


@dataclass(frozen=True, slots=True)
class PatternFound:
    """A pattern's prompt.

    Attributes:
        pattern: the template.
        weight: its share in the soft labels: the training accuracy of its untrained start.
        validation: of its best step.
    """

    pattern: str
    weight: float
    validation: Validation


@dataclass(frozen=True)
class PetRun:
    """What came of it.

    Attributes:
        run: the distilled prompt's, tested once.
        patterns: the patterns' prompts, in order; none was tested.
        teacher: the pattern that the distilled prompt has, and from whose prompt it starts.
        unlabelled: the rows that it learnt from.
    """

    run: Run
    patterns: tuple[PatternFound, ...]
    teacher: PatternFound
    unlabelled: int


class PatternTraining:
    """Train a prompt for each pattern, label rows with all of them, and distil one prompt.

    Args:
        task: the labelled rows, and what is asked; its template is not used.
        unlabelled: rows to label. Those that validation or test rows are copies of are left out.
        patterns: templates with the same fields, two or more.
        method: the patterns' prompts; each starts from its pattern's words.
        config: of the patterns' trainings and of the distillation; the loss is that over labels.
        temperature: of the soft labels and of the student's answers to them.
        folder: the run's: the distilled prompt's run, with the patterns' below `patterns`; None
            keeps nothing. The same training in the folder is resumed.
        observer: called with every event.

    Raises:
        ConfigError: patterns that cannot be used together, another task than a classification by
            words, or a start that is not the patterns'.
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
        folder: str | Path | None = None,
        observer: Observer | None = None,
    ) -> None:
        method = method or PromptTuning()
        _check(task.spec, patterns, method, temperature)
        self._backbone, self._task, self._method = backbone, task, method
        self._unlabelled, self._temperature = unlabelled, temperature
        self._config = (config or TrainConfig()).model_copy(update={"loss": "labels"})
        self._folder = None if folder is None else Path(folder)
        self._observer = observer
        self._specs = {text: _with_template(task.spec, text) for text in patterns}
        self._sweep = SweepRunner(
            backbone,
            {f"pattern {n}": replace(task, spec=s) for n, s in enumerate(self._specs.values(), 1)},
            SweepConfig(grid={"method.text": tuple(map(words_of, patterns))}),
            method,
            self._config,
            None if self._folder is None else self._folder / PATTERNS,
            observer or (lambda event: None),
            unit="pattern",
            command=COMMAND,
            paired=True,
        )

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the checkpoint of something else.
        """
        self._sweep.fits(folder / PATTERNS)

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
        self._sweep.train()
        trainers = self._sweep.trainers
        for trainer in trainers:
            raise_if_diverged(trainer.state)
        with stoppable(self._sweep.stopped), may_cut():
            weights = [self._weight(trainer) for trainer in trainers]
            labelled = self._labelled(trainers, weights)
        best = max(range(len(trainers)), key=lambda n: (trainers[n].state.best_score, -n))
        setup, method = self._student(trainers[best], labelled)
        run = train_prompt(setup, method, folder=self._folder, observer=self._observer)
        found = tuple(
            PatternFound(text, weight, _best_of(trainer))
            for text, weight, trainer in zip(self._specs, weights, trainers, strict=True)
        )
        return PetRun(run, found, found[best], len(setup.task.train))

    def _weight(self, trainer: Trainer) -> float:
        """The training accuracy of the untrained start."""
        setup = trainer.setup
        found = setup.validate(setup.new_method(), self._task.train, brief=False)
        return float(found.accuracy or 0.0)

    def _labelled(self, trainers: Sequence[Trainer], weights: Sequence[float]) -> list[Prediction]:
        """The ensemble's soft labels of the unlabelled rows: see `soft_labels`."""
        each = [self._answers(trainer) for trainer in trainers]
        return soft_labels(each, weights, self._temperature)

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
        given: dict[Split, Sequence[Record]] = {"train": rows, "validation": self._task.validation}
        if self._task.test:
            given["test"] = self._task.test
        task = Task.from_records(teacher.setup.spec, given, split=(1.0, 0.0, 0.0))
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


def words_of(pattern: str) -> str:
    """A pattern's words, with its fields' names where they stand."""
    pieces = Template(pattern).pieces
    own = ("prompt", "mask")
    return "".join("" if p.is_field and p.text in own else p.text for p in pieces)


def _with_template(spec: TaskSpec, template: str) -> TaskSpec:
    return TaskSpec.parse({**spec.model_dump(), "template": template})


def _best_of(trainer: Trainer) -> Validation:
    state = trainer.state
    return Validation(state.best_loss, state.best_accuracy, prior=state.best_prior)


def _check(
    spec: TaskSpec, patterns: Sequence[str], method: PromptTuning, temperature: float
) -> None:
    """
    Raises:
        ConfigError: patterns that cannot be used together, or settings that contradict them.
    """
    if not spec.task_kind.single_label or spec.mode != "labels":
        raise ConfigError(
            "patterns are for classifications that are answered in words",
            where="cuecard pet",
            got=f"the kind {spec.kind}{' with a head' if spec.mode == 'head' else ''}",
            expected="a classification without a head",
        )
    texts = [words_of(pattern) for pattern in patterns]
    if len(patterns) < 2 or len({*texts}) < len(texts):
        raise ConfigError(
            "an ensemble of patterns needs several different ones",
            where="patterns",
            got="; ".join(map(repr, patterns)) or "none",
            expected="two or more, no two with the same words",
        )
    asked = {*spec.field_names}
    for pattern in patterns:
        if {*Template(pattern).fields} != asked:
            raise ConfigError(
                "the patterns do not name the same fields",
                where="patterns",
                got=repr(pattern),
                expected=f"the fields {', '.join(sorted(asked))}",
            )
    if method.init != "text" or method.text is not None or method.decoder_length:
        raise ConfigError(
            "each prompt starts from its pattern's words",
            where="method",
            got=f"init={method.init!r}, text={method.text!r}, "
            f"decoder_length={method.decoder_length}",
            expected="init='text' without a text, and no decoder vectors",
        )
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(
            "the temperature must be a positive number", where="temperature", got=temperature
        )
