"""Port prompts to another backbone: the new ones learn what the old ones answer.

Knowledge distillation (Hinton, Vinyals and Dean, 2015, arXiv:1503.02531) from prompt to prompt: of
labels by their probabilities, of texts by the teacher's likeliest tokens (as in context
distillation, Eyuboglu et al., 2025, arXiv:2506.06266) where both backbones have one tokenizer, and
by the teacher's texts themselves, sequence-level distillation (Kim and Rush, 2016,
arXiv:1606.07947), where they have two.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cuecard.artifacts import Prompt
from cuecard.errors import ConfigError, DataWarning, Interrupted
from cuecard.evaluation.evaluate import Evaluation, evaluate, score_predictions
from cuecard.evaluation.report import plain
from cuecard.folder_lock import held
from cuecard.interrupts import may_cut, stoppable
from cuecard.methods import MethodSettings
from cuecard.plain_files import is_file_name
from cuecard.tasks import Task
from cuecard.training.config import TrainConfig
from cuecard.training.distilling.answers import (
    SPLIT_SEED,
    answers_by_input,
    shares_of,
    task_of,
)
from cuecard.training.distilling.fidelity import AnsweredInputs
from cuecard.training.distilling.together import TRAINING, SharedTraining
from cuecard.training.loop import stopped_in
from cuecard.training.objective.top_tokens import Taught
from cuecard.training.porting.outcome import PortedPrompt, gates_of
from cuecard.training.porting.settings import PortConfig
from cuecard.training.porting.sources import PortSource
from cuecard.training.porting.teachers import TEXTS, OldAnswers, OldBackbone, PortTeachers
from cuecard.training.run import Run
from cuecard.training.setup import TrainSetup, key_of
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.trainables.initial_method import suited_to
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Backbone

COMMAND = "cuecard port"
PROMPTS = "prompts"
"""Where the new prompts go, in the run's folder."""


class PromptPorter:
    """Port prompts; what can be refused before an answer is known is refused here.

    Args:
        backbone: the new one.
        sources: the old prompts, each with a name of its own.
        load: loads an old prompt's backbone.
        settings: how they are ported.
        config: how each new prompt is trained.
        folder: the run's; None keeps nothing. The same port in the folder is resumed.
        observer: called with every event.

    Raises:
        ConfigError: no prompts, two of one name, a task that is not answered in words, or a prompt
            that the new backbone cannot have.
        DataError: too few inputs.
    """

    def __init__(
        self,
        backbone: Backbone,
        sources: Sequence[PortSource],
        load: OldBackbone,
        settings: PortConfig | None = None,
        config: TrainConfig | None = None,
        *,
        folder: str | Path | None = None,
        observer: Observer | None = None,
    ) -> None:
        _check_names(sources)
        self._backbone, self._sources = backbone, {one.name: one for one in sources}
        self._settings, self._config = settings or PortConfig(), config or TrainConfig()
        self._folder = None if folder is None else Path(folder)
        self._observer = observer
        top = self._settings.top
        self._teachers = PortTeachers(sources, load, backbone, top, self._folder)
        self._methods = {one.name: self._method(one) for one in sources}
        self._planned = {one.name: self._setup(one, _asked(one)) for one in sources}

    @property
    def key(self) -> str:
        """A digest of the prompts, the inputs, the new backbone and the settings."""
        rows = [
            [one.prompt.digest, one.origin.model_dump(mode="json"), one.name]
            + [[dict(row.texts), one.spec.target_text(row)] for row in (*one.inputs, *one.labelled)]
            for one in self._sources.values()
        ]
        settings = [each.model_dump(mode="json") for each in (self._settings, self._config)]
        return key_of([rows, settings, [setup.parts for setup in self._planned.values()]])

    def plan(self) -> dict[str, Any]:
        """What it would take: answers, steps, and what each new prompt is."""
        config = self._config
        return {
            "prompts": [
                {
                    "name": name,
                    "from": str(source.origin),
                    "inputs": len(source.inputs),
                    "labelled": len(source.labelled),
                    "learns": self._teachers.learns(source),
                    "method": self._methods[name].name,
                    "slot": self._methods[name].slot,
                    "length": self._planned[name].start.injection().length,
                }
                for name, source in self._sources.items()
            ],
            "steps": config.steps,
            "rows": config.steps * config.batch_rows * config.accumulation,
        }

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the answers of another port.
        """
        self._teachers.fits(folder)

    def run(self) -> tuple[PortedPrompt, ...]:
        """Ask the old prompts, train the new ones and compare.

        Raises:
            DataError: too few inputs with an answer.
            ArtifactError: an old prompt that does not answer as when it was saved.
            TrainingError: a prompt diverged, or the folder belongs to something else.
            FrozenError: the backbone changed.
            Interrupted: Ctrl-C; what was done is kept.
        """
        with held(self._folder), stoppable(self._stopped):
            answers = self._teachers.answers(RunLog(None, self._observer))
            setups = self._setups(answers)
            parts = {name: f"{TRAINING}/{name}" for name in setups}
            runs = SharedTraining(
                {part: setups[name] for name, part in parts.items()},
                {part: self._methods[name] for name, part in parts.items()},
                COMMAND,
                self._folder,
                self._observer,
            ).run()
            with may_cut():
                return tuple(
                    self._compared(source, answers[name], setups[name], runs[parts[name]])
                    for name, source in self._sources.items()
                )

    def _stopped(self) -> Interrupted:
        return stopped_in("stopped before the end of the port", self._folder, COMMAND)

    def _method(self, source: PortSource) -> MethodSettings:
        _ = source.spec  # refuses what is not answered in words
        return suited_to(self._backbone, source.method(self._settings))

    def _setup(self, source: PortSource, task: Task) -> TrainSetup:
        """The training of a prompt on inputs with targets."""
        loss = "labels" if task.spec.mode == "labels" else "tokens"
        config = self._config.model_copy(update={"loss": loss, "calibrate": False})
        trainable = TrainablePrompt(self._methods[source.name])
        return TrainSetup.of(self._backbone, task, trainable, config, name=source.name)

    def _setups(self, answers: Mapping[str, OldAnswers]) -> dict[str, TrainSetup]:
        """The trainings, with what of the old answers each learns."""
        found = {}
        for name, source in self._sources.items():
            own = answers[name]
            task = task_of(source.spec, source.inputs, own.inputs, f"the prompt {name}")
            setup = self._setup(source, task)
            if setup.loss == "labels":
                answers_to = answers_by_input(source.inputs, own.inputs)
                shares = [
                    shares_of(task.spec, answers_to(r)) for r in (task.train, task.validation)
                ]
                setup = setup.with_soft_labels(shares[0], validation=shares[1])
            elif taught := self._taught(setup, own):
                settings = [source.prompt.digest, self._settings.top]
                setup = setup.with_taught(taught, key_of(settings))
            found[name] = setup
        return found

    def _taught(self, setup: TrainSetup, answers: OldAnswers) -> Taught:
        """The old prompt's likeliest tokens for the rows of every split; none of another
        tokenizer."""
        task = setup.task
        records = (*task.train, *task.validation, *task.test)
        rows = setup.spec.encode_rows(records, self._backbone.tokenizer, setup.slot)
        return answers.taught([*zip(records, rows, strict=True)])

    def _compared(
        self, source: PortSource, answers: OldAnswers, setup: TrainSetup, run: Run
    ) -> PortedPrompt:
        """The new prompt beside the old one, and beside none."""
        task, injection = setup.task, run.prompt.injection()
        known = answers_by_input(source.inputs, answers.inputs)
        test = AnsweredInputs(
            self._backbone, task.spec, setup.slot, task.test, known(task.test), setup.taught or {}
        )
        fidelity = test.fidelity(injection, None if run.test is None else run.test.predictions)
        untrained = test.fidelity(None)
        old, new = self._scores(source, answers, setup, run)
        seen = sum(len(part) for part in (task.train, task.validation, task.test))
        learnt = self._teachers.learns(source)
        found = PortedPrompt(
            source=source,
            task=task,
            learnt=TEXTS if setup.loss == "tokens" and not setup.taught else learnt,
            left_out=len(source.inputs) - seen,
            run=run,
            prompt=run.prompt,
            fidelity=fidelity,
            untrained=untrained,
            old_score=old,
            new_score=new,
            gates=gates_of(fidelity, old, new, self._settings),
        )
        return replace(found, prompt=self._kept(found))

    def _scores(
        self, source: PortSource, answers: OldAnswers, setup: TrainSetup, run: Run
    ) -> tuple[Evaluation | None, Evaluation | None]:
        """Both prompts on the labelled rows, if there are some."""
        rows, seed = source.labelled, self._config.seed
        if not rows:
            return None, None
        if seen := source.prompt.seen(rows):
            warnings.warn(DataWarning(seen.sentence(source.name)), stacklevel=2)
        old = score_predictions(source.spec, rows, answers.labelled, seed=seed)
        injection, slot = run.prompt.injection(), setup.slot
        new = evaluate(self._backbone, setup.spec, rows, injection, slot=slot, seed=seed)
        return old, new

    def _kept(self, found: PortedPrompt) -> Prompt:
        """The prompt with what it is worth and where it comes from, saved.

        Its run was tested on the old prompt's answers, which are no labels: that is its fidelity.
        """
        told, score, best = found.fidelity, found.new_score, found.run.validation
        metrics: dict[str, Any] = {
            "validation": {
                "rows": len(found.task.validation),
                "loss": best.loss,
                "agreement": best.accuracy,
            },
            "fidelity": {
                "rows": told.rows,
                "agreement": told.agreement,
                "ci95": told.agreement_ci95,
                "same": told.same,
                "kl": told.kl,
            },
        }
        if score is not None:
            rows = len(score.records)
            metrics["test"] = {"rows": rows, score.primary: score.score, "ci95": score.ci95}
        prompt = found.run.prompt.with_metrics(
            dict(plain(metrics)), ported_from=found.source.origin
        )
        if self._folder is not None:
            prompt.save(self._folder / PROMPTS / found.source.name, overwrite=True)
        return prompt


def _check_names(sources: Sequence[PortSource]) -> None:
    names = [source.name for source in sources]
    bad = [name for name in names if not is_file_name(name) or names.count(name) > 1]
    if not names or bad:
        raise ConfigError(
            "there are no prompts to port" if not names else "not the names of several prompts",
            where="prompts",
            got=", ".join(bad) or "none",
            expected="one or more, each with a name of its own that a folder can have",
        )


def _asked(source: PortSource) -> Task:
    """The inputs as a task whose targets are not known yet, to check all else by."""
    spec = source.spec
    labels = spec.labels or ("a",)
    rows = [
        replace(record, target=labels[number % len(labels)])
        for number, record in enumerate(source.inputs)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # of labels that no row has, such as these
        return Task.from_records(spec, rows, seed=SPLIT_SEED)
