"""Which saved prompt a new task starts from: all are scored untrained, the likely ones trained.

SPoT (Vu et al., "SPoT: Better Frozen Model Adaptation through Soft Prompt Transfer", ACL 2022,
arXiv:2110.07904), section 3: a prompt of a source task is where the target task's begins; section
4: tasks are alike as the mean vectors of their prompts are, by the cosine. The new task's prompt is
here the usual start after the search's steps. There are more ways to be useful than to be alike, so
that the saved prompts with the best scores before any training are tried, too.

A mix of all saved prompts by attention (`methods/attempt.py`) is one more start.

Every start that is trained gets the same steps, on the same rows at the same rate, and validation
rows decide. Test rows are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuecard.artifacts.nearest import similarity
from cuecard.artifacts.tensors import tensors_of, vectors_of
from cuecard.errors import BackboneError, ConfigError, Interrupted
from cuecard.folder_lock import held
from cuecard.interrupts import may_cut, stoppable
from cuecard.methods import MethodSettings
from cuecard.tasks import Task, draw_rows
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.budget.prompts_per_pass import fit_together
from cuecard.training.checks import FrozenProof
from cuecard.training.config import TrainConfig
from cuecard.training.loop import run_loop, stopped_in
from cuecard.training.objective.validation import Validation
from cuecard.training.race.paired import (
    Paired,
    RowResults,
    answers,
    by_likelihood,
    likelihoods,
    paired,
)
from cuecard.training.setup import TrainSetup, key_of, run_parts
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.trainables.initial_method import suited_to
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.training.trainer import Trainer, raise_if_diverged
from cuecard.training.transfer.found import USUAL, TransferFound, TriedStart
from cuecard.training.transfer.settings import TransferConfig
from cuecard.training.transfer.sources import SourcePrompt, check_transfer
from cuecard.types import Backbone, Method

if TYPE_CHECKING:
    from torch import Tensor

COMMAND = "cuecard transfer"

# Rates warm up over at most this share of a search's steps.
_WARM_UP = 5


class TransferSearch:
    """Tries saved prompts as starts of a task's training.

    The checkpoint's first state is the usual start's, the others are those of the saved prompts
    that are trained. Its notes are the scores before any training, which are trained, and what was
    found.

    Args:
        method: the usual start's settings.
        sources: saved prompts by name.
        config: the run's settings; the search's steps are the search's own.
        left_out: saved prompts that cannot be started from, and why.
        folder: where the checkpoint and the table go; None keeps nothing.

    Raises:
        ConfigError: a task that does not answer in words, or settings that cannot be used.
        CuecardError: see `TrainSetup.of`.
    """

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        method: MethodSettings,
        sources: Mapping[str, SourcePrompt],
        config: TrainConfig,
        search: TransferConfig | None = None,
        *,
        left_out: Mapping[str, str] | None = None,
        folder: Path | None = None,
        observer: Observer | None = None,
    ) -> None:
        check_transfer(task, config, sources)
        self._search = search or TransferConfig()
        self._backbone, self._task, self._config = backbone, task, config
        self._folder, self._tell = folder, observer or (lambda event: None)
        self._sources, self._left_out = dict(sources), dict(left_out or {})
        self.setups = self._set_up(method)
        self._parts = run_parts(backbone, task, self.setups[USUAL].trainable, config) | {
            "search": key_of(self._search.model_dump(mode="json")),
            "saved prompts": key_of([dict(one.trainable.parts) for one in self.setups.values()]),
        }
        self._checkpoint = Checkpoint(key_of(self._parts), parts=self._parts)

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the checkpoint of something else.
        """
        Checkpoint.load(folder, self._checkpoint.key, self._parts)

    @property
    def spent(self) -> State:
        """Seconds and tokens of all of it."""
        total = State()
        for state in self._checkpoint.runs:
            total.spend_as(state)
        return total

    def run(self) -> TransferFound:
        """Search; a search that was stopped goes on from its checkpoint, to the same result.

        Raises:
            TrainingError: every training diverged, or the folder belongs to something else.
            FrozenError: the backbone changed.
            Interrupted: Ctrl-C; the checkpoint is saved.
        """
        with held(self._folder), stoppable(self._stopped):
            self._checkpoint = Checkpoint.open(self._folder, self._checkpoint.key, 1, self._parts)
            if len(self._notes) < 3:
                usual = self.setups[USUAL]
                frozen = FrozenProof(self._backbone, usual.rows[0], usual.spec)
                self._run()
                frozen.check()
            found = TransferFound.of_dict(self._notes[2])
        if self._folder is not None:
            found.write(self._folder)
        return found

    def _run(self) -> None:
        if not self._notes:
            self._note({name: asdict(one) for name, one in self._untrained().items()})
        steps = self.setups[USUAL].config.steps
        saved = sum(not source.mixed for source in self._sources.values())
        event = {"library": saved, "left_out": len(self._left_out), "steps": steps}
        self._tell({"event": "transfer_search", **event})
        self._train([USUAL])
        if len(self._notes) < 2:
            chosen = self._chosen()
            self._checkpoint.runs += [State() for _ in chosen["racing"]]
            self._note(chosen)
        self._tell({"event": "transfer_race", "starts": self._racing, "steps": steps})
        self._train(self._racing)
        self._note(asdict(self._found()))

    @property
    def _notes(self) -> list[dict[str, Any]]:
        return self._checkpoint.notes

    @property
    def _racing(self) -> list[str]:
        """The saved prompts that are trained, known once they are chosen."""
        return list(self._notes[1]["racing"])

    @property
    def _states(self) -> dict[str, State]:
        """Those of the starts that are trained, the usual one first."""
        racing = self._racing if len(self._notes) > 1 else []
        return dict(zip([USUAL, *racing], self._checkpoint.runs, strict=True))

    def _note(self, note: dict[str, Any]) -> None:
        self._notes.append(note)
        self._save()

    def _save(self) -> None:
        if self._folder is not None:
            self._checkpoint.save(self._folder)

    def _set_up(self, method: MethodSettings) -> dict[str, TrainSetup]:
        """A set-up of each start; saved prompts that cannot be one are left out."""
        config = self._search_config()
        usual = self._setup(method, config, None)
        setups, checked = {USUAL: usual}, usual.start.injection().length
        for name, source in list(self._sources.items()):
            own = getattr(source.method, "length", None)
            length = own or source.method.warm_start[0].shape[-2]
            known = usual if length <= checked and source.method.slot == usual.slot else None
            try:
                setups[name] = self._setup(source.method, config, known)
            except (ConfigError, BackboneError) as error:
                self._left_out[name] = f"{error.what}: {error.got}"
                del self._sources[name]
        return setups

    def _setup(
        self, method: MethodSettings, config: TrainConfig, known: TrainSetup | None
    ) -> TrainSetup:
        prompt = TrainablePrompt(suited_to(self._backbone, method))
        rows = None if known is None else known.rows
        return TrainSetup.of(
            self._backbone, self._task, prompt, config, rows=rows, fixed_validations=True
        )

    def _search_config(self) -> TrainConfig:
        """The run's, for the search's steps, with a validation before the first and at the end."""
        steps = self._search.steps(self._config.steps)
        warmup = min(self._config.warmup, max(1, steps // _WARM_UP))
        return self._config.model_copy(
            update={"steps": steps, "warmup": warmup, "eval_every": steps}
        )

    def _untrained(self) -> dict[str, Validation]:
        """Every start's score before any training, at the usual start's expense."""
        rows = draw_rows(self._task.validation, self._search.rows, "transfer")
        with may_cut(), self._checkpoint.runs[0].charged(self._backbone.counts):
            return {
                name: replace(setup.validate(setup.start, rows), prior=None)
                for name, setup in self.setups.items()
            }

    def _train(self, names: list[str]) -> None:
        """Train starts to the ends of their steps, as many together as fit in a pass."""
        states = self._states
        waiting = [name for name in names if states[name].ended is None]
        trainers: list[Trainer] = []
        first = self.setups[USUAL]
        tokens = first.config.batch_rows * max(row_lengths(first.rows))
        if self._checkpoint.together is None:
            self._checkpoint.together = fit_together(self._backbone, tokens)
        room = self._checkpoint.together

        def add() -> None:
            running = sum(not trainer.finished for trainer in trainers)
            for name in waiting[: max(room - running, 0)]:
                waiting.remove(name)
                setup = self.setups[name]
                method = setup.new_method()
                log = RunLog(None)
                trainers.append(Trainer(setup, method, setup.peak_lr, states[name], log))

        add()  # those that missed a validation make it before anything else
        run_loop(
            trainers,
            self._checkpoint,
            folder=self._folder,
            every=self._config.checkpoint_every,
            stopped=self._stopped,
            more=add,
        )

    def _chosen(self) -> dict[str, Any]:
        """The cosines, and what is trained: the nearest, the best, and what is made of many."""
        untrained = {name: Validation(**one) for name, one in self._notes[0].items()}
        cosines, select = self._cosines(), self._config.select
        sources = self._sources.items()
        mixes = [name for name, source in sources if source.mixed]
        shared = [name for name, source in sources if source.shared]
        alone = [name for name, _ in sources if name not in (*mixes, *shared)]

        def score(name: str) -> tuple[float, ...]:
            return untrained[name].score(select)

        def cosine(name: str) -> float:
            return cosines[name]

        ranks = (sorted(alone, key=key, reverse=True) for key in (score, cosine))
        turns = dict.fromkeys(name for pair in zip_longest(*ranks) for name in pair)
        racing = [*turns][: self._search.sources]
        racing += sorted(shared, key=score)[-1:]
        return {"cosines": cosines, "racing": [*racing, *mixes]}

    def _cosines(self) -> dict[str, float]:
        """Of every saved prompt's mean vector and the trained usual start's."""
        usual = self.setups[USUAL].new_method()
        usual.load_state_dict(self._states[USUAL].best)
        own = self._vectors(usual)
        return {
            name: similarity(own, self._vectors(self.setups[name].start)).mean
            for name, source in self._sources.items()
            if not source.mixed
        }

    def _vectors(self, method: Method) -> Tensor:
        return vectors_of(tensors_of(method.injection()), self._backbone.hidden_size)

    def _found(self) -> TransferFound:
        """What the trained starts came to."""
        states = self._states
        sound = [name for name, state in states.items() if state.error is None]
        if not sound:
            raise_if_diverged(states[USUAL])
        chosen = max(sound, key=lambda name: states[name].best_score)  # of equals the first
        saved = [name for name in sound if name != USUAL]
        best = max(saved, key=lambda name: states[name].best_score, default=None)
        found = TransferFound(
            starts=self._tried(states),
            chosen=chosen,
            steps=self.setups[USUAL].config.steps,
            rows=len(self._task.validation),
            best=best,
            left_out=self._left_out,
        )
        if best is None or USUAL not in sound:
            return found
        seen = self._compared(best)
        return replace(
            found, metric=seen.metric, saved=seen.ours, usual=seen.theirs, ci95=seen.ci95
        )

    def _compared(self, best: str) -> Paired:
        """The best saved prompt and the usual start, both at their best steps, row by row."""
        with may_cut(), self._checkpoint.runs[0].charged(self._backbone.counts):
            return paired(self._asked(best), self._asked(USUAL))

    def _asked(self, name: str) -> RowResults:
        setup, state = self.setups[name], self._states[name]
        method = setup.new_method()
        method.load_state_dict(state.best)
        ask = likelihoods if by_likelihood(self.setups[USUAL]) else answers
        return ask(setup, method, state.best_prior, self._task.validation)

    def _tried(self, states: Mapping[str, State]) -> tuple[TriedStart, ...]:
        """All of them: the usual start, the trained ones by their scores, then the others."""
        cosines = self._notes[1]["cosines"]

        def tried(name: str) -> TriedStart:
            before, state = Validation(**self._notes[0][name]), states.get(name)
            start = TriedStart(name, before.loss, before.accuracy, cosines.get(name))
            if state is None:
                return start
            if state.error is not None:
                return replace(start, diverged=True)
            return replace(start, loss=state.best_loss, accuracy=state.best_accuracy)

        trained = sorted(self._racing, key=lambda name: states[name].best_score, reverse=True)
        others = [name for name in self._sources if name not in states]
        others.sort(key=lambda name: self._notes[0][name]["loss"])
        return tuple(map(tried, [USUAL, *trained, *others]))

    def _stopped(self) -> Interrupted:
        return stopped_in("stopped during the search for a start", self._folder, COMMAND)
