"""Train prompts of several tasks in shared passes of one backbone, each from its own set-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cuecard.errors import Interrupted
from cuecard.folder_lock import held
from cuecard.interrupts import stoppable
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.budget.prompts_per_pass import fit_together
from cuecard.training.checks import FrozenProof
from cuecard.training.loop import run_loop, stopped_in, stopped_run
from cuecard.training.run import Run, Trained, finish_run, log_start
from cuecard.training.setup import TrainSetup, key_of, parts_of_runs, remember_inputs
from cuecard.training.storage.checkpoint import Checkpoint
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.trainer import Trainer, raise_if_diverged
from cuecard.types import Backbone, MethodConfig

TRAINING = "training"
"""Where the checkpoint goes, in the run's folder."""


@dataclass(frozen=True)
class SharedTraining:
    """Prompts that are trained together, as many in a pass as there is room for.

    Args:
        setups: by the part of the run that each is, such as "training/tickets", which is where
            its folder is in the run's; on one backbone.
        methods: the settings that each set-up was made with.
        command: what resumes it, without its folder.
        whole: the run's folder, which is the one to resume; None keeps nothing.
        observer: called with every event; those of one of several say as `run` which part of the
            run they are of.
        room: where the checkpoint goes, in the run's folder.
    """

    setups: Mapping[str, TrainSetup]
    methods: Mapping[str, MethodConfig]
    command: str
    whole: Path | None
    observer: Observer | None
    room: str = TRAINING

    @property
    def folder(self) -> Path | None:
        """Where the checkpoint goes."""
        return None if self.whole is None else self.whole / self.room

    @property
    def parts(self) -> dict[str, str]:
        """What two sittings have in common, as digests by name."""
        return parts_of_runs({name: setup.parts for name, setup in self.setups.items()})

    def run(self) -> dict[str, Run]:
        """Train all of them to their ends, then test and keep each.

        Raises:
            TrainingError: one diverged, or the folder belongs to something else.
            FrozenError: the backbone changed.
            Interrupted: Ctrl-C; the checkpoint is saved.
        """
        parts, first = self.parts, next(iter(self.setups.values()))
        with held(self.folder):
            checkpoint = Checkpoint.open(self.folder, key_of(parts), len(self.setups), parts)

            def stopped() -> Interrupted:
                if len(self.setups) == 1:
                    return stopped_run(checkpoint, first.config.steps, self.whole, self.command)
                done = sum(state.ended is not None for state in checkpoint.runs)
                what = f"stopped with {done} of {len(self.setups)} prompts trained"
                return stopped_in(what, self.whole, self.command)

            with stoppable(stopped):
                frozen = FrozenProof(first.backbone, first.rows[0], first.spec)
                late = [setup for setup in self.setups.values() if setup.leaves_inputs]
                remember_inputs(late, late, checkpoint, self.folder)
                trained = self._trained(checkpoint)
                waiting = self._trainers(trained)
                self._begin(checkpoint, first.backbone)
                running: list[Trainer] = []

                def more() -> None:
                    busy = sum(not trainer.finished for trainer in running)
                    for trainer in waiting[: max((checkpoint.together or 1) - busy, 0)]:
                        waiting.remove(trainer)
                        running.append(trainer)

                more()  # those that missed a validation make it before anything else
                run_loop(
                    running,
                    checkpoint,
                    folder=self.folder,
                    every=first.config.checkpoint_every,
                    stopped=stopped,
                    more=more,
                )
                frozen.check()
                return {name: self._finish(name, one) for name, one in trained.items()}

    def _trained(self, checkpoint: Checkpoint) -> dict[str, Trained]:
        """Each one's method, log and state, before or amid its training."""
        found = {}
        for (name, setup), state in zip(self.setups.items(), checkpoint.runs, strict=True):
            place = None if self.whole is None else self.whole / name
            if place is not None:
                place.mkdir(parents=True, exist_ok=True)
            log = RunLog(place, self._observer_of(name), keep_bytes=state.log_bytes)
            found[name] = Trained(setup, setup.start, state, log, place)
        return found

    def _trainers(self, trained: Mapping[str, Trained]) -> list[Trainer]:
        found = []
        for one in trained.values():
            setup, state = one.setup, one.state
            if state.lr is None:
                state.lr = setup.peak_lr
                log_start(one.log, setup, one.method)
            elif state.ended is None and self.observer is not None:
                one.log.tell("resume", step=state.step, steps=setup.config.steps)
            found.append(Trainer(setup, one.method, state.lr, state, one.log))
        return found

    def _begin(self, checkpoint: Checkpoint, backbone: Backbone) -> None:
        """Choose how many share a pass."""
        if checkpoint.together is None:
            longest = max(max(row_lengths(setup.rows)) for setup in self.setups.values())
            rows = next(iter(self.setups.values())).config.batch_rows
            together = fit_together(backbone, rows * longest)
            checkpoint.together = min(together, len(self.setups))
        if self.observer is not None and len(self.setups) > 1:
            known = {"prompts": len(self.setups), "together": checkpoint.together}
            self.observer({"event": "together", **known})

    def _finish(self, name: str, trained: Trained) -> Run:
        raise_if_diverged(trained.state)
        return finish_run(trained, self.methods[name])

    def _observer_of(self, name: str) -> Observer | None:
        """Of several prompts each event says which one it is of."""
        tell = self.observer
        if tell is None or len(self.setups) == 1:
            return tell
        return lambda event: tell({**event, "run": name})
