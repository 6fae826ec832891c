"""Compile a text into prompts of several lengths: teacher, students, and how nearly they agree.

Context distillation with keys and values: Eyuboglu et al., "Cartridges" (2025, arXiv:2506.06266).
The text runs once. Its keys and values answer every input once, and those answers' likeliest tokens
are what each prompt learns in every epoch; the text itself is never run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuecard.artifacts import Prompt
from cuecard.errors import ConfigError, Interrupted
from cuecard.folder_lock import held
from cuecard.interrupts import may_cut, stoppable
from cuecard.tasks import Task
from cuecard.training.compiling.comparing import TextComparison
from cuecard.training.compiling.full_text import FullText
from cuecard.training.compiling.outcome import CompiledLength, CompileRun
from cuecard.training.compiling.prompts import CompiledSettings
from cuecard.training.compiling.questions import QuestionWriter
from cuecard.training.compiling.settings import CompileConfig
from cuecard.training.compiling.shorter import summary_ids
from cuecard.training.compiling.starts import start_of
from cuecard.training.compiling.teacher import TextTeacher
from cuecard.training.config import TrainConfig
from cuecard.training.distilling.answers import answers_by_input, shares_of, task_of
from cuecard.training.distilling.fidelity import AnsweredInputs
from cuecard.training.distilling.together import SharedTraining
from cuecard.training.loop import stopped_in
from cuecard.training.objective.top_tokens import Taught
from cuecard.training.run import Run
from cuecard.training.setup import TrainSetup, key_of
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Prediction, Record

COMMAND = "cuecard compile"
LENGTHS = "lengths"
"""Where the runs of each length go, in the run's folder."""


@dataclass(frozen=True)
class AnsweredText:
    """A text whose answers are known, before its prompts are trained.

    Attributes:
        task: the inputs with the answers.
        starts: each length's prompt before it is trained, by its part of the run, "lengths/16".
        setups: the trainings, by the same.
        comparison: compares what comes of them with the text.
    """

    task: Task
    starts: Mapping[str, CompiledSettings]
    setups: Mapping[str, TrainSetup]
    comparison: TextComparison


class TextCompiler:
    """Compile a text; what can be refused before its answers are known is refused here.

    Args:
        text: the text on its backbone.
        inputs: what is asked of it, without labels; or what writes them.
        settings: into what.
        config: how each length is trained.
        labelled: rows with targets of their own, to score with; none by default.
        folder: the run's; None keeps nothing. The same compilation in the folder is resumed.
        observer: called with every event.

    Raises:
        ConfigError: a text that is shorter than a length, or inputs that do not fit after it.
    """

    def __init__(
        self,
        text: FullText,
        inputs: Sequence[Record] | QuestionWriter,
        settings: CompileConfig | None = None,
        config: TrainConfig | None = None,
        *,
        labelled: Sequence[Record] = (),
        folder: str | Path | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._text, self._labelled = text, labelled
        self._writer = inputs if isinstance(inputs, QuestionWriter) else None
        self._inputs = [] if isinstance(inputs, QuestionWriter) else [*inputs]
        self._settings = settings or CompileConfig()
        loss = "labels" if text.spec.mode == "labels" else "tokens"
        changes = {"loss": loss, "calibrate": False}
        self._config = (config or TrainConfig()).model_copy(update=changes)
        self._folder = None if folder is None else Path(folder)
        self._observer = observer
        check_lengths(text, self._settings.into)
        text.check_rows([*self._inputs, *labelled])

    @property
    def key(self) -> str:
        """A digest of the text, the inputs, the backbone and the settings."""
        settings = [each.model_dump(mode="json") for each in (self._settings, self._config)]
        return key_of([self._source.key, settings])

    @property
    def _source(self) -> TextTeacher | QuestionWriter:
        """What of the run's folder is there first: questions, or answers to inputs."""
        return self._writer or TextTeacher(self._text, self._inputs, self._folder)

    def plan(self) -> dict[str, Any]:
        """What it would take: tokens, positions, answers, steps and bytes."""
        text, config = self._text, self._config
        count = len(self._inputs) if self._writer is None else self._writer.count
        return {
            "text_tokens": text.length,
            "text_kv_bytes": text.length * text.position_bytes,
            "slot": text.slot,
            "inputs": count,
            "written": self._writer is not None,
            "answer_tokens": count * text.spec.max_new_tokens if text.spec.mode == "text" else 0,
            "lengths": [
                {
                    "length": length,
                    "kv_bytes": length * text.position_bytes,
                    "steps": config.steps,
                    "rows": config.steps * config.batch_rows * config.accumulation,
                }
                for length in self._settings.into
            ],
        }

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds questions or answers of another run.
        """
        self._source.fits(folder)

    def run(self) -> CompileRun:
        """Ask, train and compare.

        Raises:
            DataError: too few inputs with an answer.
            TrainingError: a prompt diverged, or the folder belongs to something else.
            FrozenError: the backbone changed.
            Interrupted: Ctrl-C; what was done is kept.
        """
        with held(self._folder), stoppable(self._stopped):
            return self._run()

    def _stopped(self) -> Interrupted:
        return stopped_in("stopped before the end of the compilation", self._folder, COMMAND)

    def _run(self) -> CompileRun:
        asked = self.prepare()
        runs = SharedTraining(
            asked.setups, asked.starts, COMMAND, self._folder, self._observer, LENGTHS
        ).run()
        with may_cut():
            return self.finish(asked, runs)

    def prepare(self) -> AnsweredText:
        """Ask the inputs, and set up the training of every length.

        Raises:
            DataError: too few inputs with an answer.
            Stop: Ctrl-C; the answers so far are kept.
        """
        text, log = self._text, RunLog(None, self._observer)
        if self._writer is not None:
            self._inputs = self._writer.write(log)
            text.check_rows(self._inputs)
        teacher = TextTeacher(text, self._inputs, self._folder)
        answers = teacher.answers(log)
        task = task_of(text.spec, self._inputs, answers, "the full text")
        taught = teacher.taught(task, self._settings.top)
        answers_to = answers_by_input(self._inputs, answers)
        starts, setups = self._setups(task, taught, answers_to)
        validation, test = (
            AnsweredInputs(text.backbone, text.spec, text.slot, rows, answers_to(rows), taught)
            for rows in (task.validation, task.test)
        )
        comparison = TextComparison(text, validation, test, self._labelled, self._config.seed)
        return AnsweredText(task, starts, setups, comparison)

    def finish(self, asked: AnsweredText, runs: Mapping[str, Run]) -> CompileRun:
        """Compare the lengths, and keep the prompt of one.

        Args:
            asked: as `prepare` made it.
            runs: the trainings of `asked.setups`, by the same names.
        """
        text, task, comparison = self._text, asked.task, asked.comparison
        summary = summary_ids(text, max(self._settings.into))
        lengths = tuple(
            comparison.compiled(start, runs[part], summary) for part, start in asked.starts.items()
        )
        kept, passed = self._choose(lengths)
        seen = sum(len(part) for part in (task.train, task.validation, task.test))
        full, prompt = comparison.ends(), _told(kept, text)
        if self._folder is not None:
            prompt.save(self._folder / "prompt", overwrite=True)
        return CompileRun(
            text,
            task,
            len(self._inputs) - seen,
            full,
            lengths,
            kept,
            passed,
            prompt,
            len(self._labelled),
        )

    def _setups(
        self,
        task: Task,
        taught: Taught,
        answers_to: Callable[[Sequence[Record]], list[Prediction]],
    ) -> tuple[dict[str, CompiledSettings], dict[str, TrainSetup]]:
        """Each length's prompt before it is trained, and its training."""
        text = self._text
        samples = text.spec.encode_rows(task.train, text.backbone.tokenizer, text.slot)
        shares = [shares_of(text.spec, answers_to(rows)) for rows in (task.train, task.validation)]
        starts, setups = {}, {}
        for length in self._settings.into:
            part = f"{LENGTHS}/{length}"
            start = start_of(text, length, self._settings, samples)
            setup = TrainSetup.of(text.backbone, task, TrainablePrompt(start), self._config)
            if text.spec.mode == "labels":
                setup = setup.with_soft_labels(shares[0], validation=shares[1])
            else:
                setup = setup.with_taught(taught, key_of([text.digest, self._settings.top]))
            starts[part], setups[part] = start, setup
        return starts, setups

    def _choose(self, lengths: Sequence[CompiledLength]) -> tuple[CompiledLength, bool | None]:
        """The shortest within the tolerance, else the one that agrees most."""
        tolerance = self._settings.tolerance
        if tolerance is None:
            return lengths[-1], None
        within = [one for one in lengths if one.agreement >= 1 - tolerance]
        if within:
            return within[0], True
        return max(lengths, key=lambda one: one.agreement), False


def check_lengths(text: FullText, into: Sequence[int]) -> None:
    """
    Raises:
        ConfigError: a text that is shorter than what it is to become.
    """
    if max(into) > text.length:
        raise ConfigError(
            "the text is shorter than the prompt that it is to become",
            where="into",
            got=f"{max(into)} positions for a text of {text.length} tokens",
            expected=f"at most {text.length}",
        )


def _told(kept: CompiledLength, text: FullText) -> Prompt:
    """The kept prompt, with what it is worth beside the text among its metrics."""
    prompt, found = kept.run.prompt, kept.rows[0].fidelity
    told = {
        "rows": found.rows,
        "agreement": found.agreement,
        "same": found.same,
        "kl": found.kl,
        "text_tokens": text.length,
    }
    return prompt.with_metrics({**prompt.manifest.metrics, "fidelity": told})
