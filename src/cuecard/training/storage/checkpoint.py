"""Checkpoints: everything that one or more prompts in training resume from, replaced atomically."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cuecard.errors import TrainingError
from cuecard.lazy import torch
from cuecard.plain_files import replace_file, writing_to

FILE = "checkpoint.pt"


# What the fields of a state were called in checkpoints of cuecard 0.1.
_RENAMED = {"waited": "bad_validations", "looks": "validations"}


@dataclass
class State:
    """The state of one prompt in training after `step` steps.

    Attributes:
        step: optimiser steps done.
        epoch, position: the next batch's epoch and place in it.
        method, optimizer: their state.
        best: the method's state at the best validation, with its step, score, loss, accuracy and
            what calibration would take off the labels' scores.
        bad_validations: validations since the best one.
        lr: the peak learning rate, once it is chosen.
        validations: every validation so far: its step, and what is minimised.
        ended: why it trains no more: "steps", "patience", "pruned", "diverged"; None while it does.
        error: what it ended with, if that is an error's fields.
        log_bytes: how long the log was; what was written later is dropped when resuming.
        cpu_seconds, wall_seconds: its share of what was spent on it and others together.
        start_prior: what calibration would take off the labels' scores before the first step.
        tokens: its share of the tokens run forward, those of optimizer steps counted twice.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    method: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    best_step: int = -1
    best_score: tuple[float, ...] = ()
    best_loss: float = 0.0
    best_accuracy: float | None = None
    best_prior: dict[str, float] | None = None
    bad_validations: int = 0
    lr: float | None = None
    validations: list[tuple[int, float]] = field(default_factory=list)
    ended: str | None = None
    error: dict[str, str | None] | None = None
    log_bytes: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    start_prior: dict[str, float] | None = None
    tokens: float = 0.0

    def spend(self, cpu: float, wall: float, tokens: float) -> None:
        """Add seconds, and tokens run forward, to what was spent."""
        self.cpu_seconds += cpu
        self.wall_seconds += wall
        self.tokens += tokens

    def spend_as(self, other: State) -> None:
        """Add what was spent on another one."""
        self.spend(other.cpu_seconds, other.wall_seconds, other.tokens)

    @contextmanager
    def charged(self, counts: Mapping[str, int]) -> Iterator[None]:
        """Add what a block takes.

        Args:
            counts: the backbone's running totals.
        """
        cpu, wall, tokens = time.process_time(), time.perf_counter(), counts["tokens"]
        yield
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        self.spend(cpu, wall, counts["tokens"] - tokens)


@dataclass
class Checkpoint:
    """Runs that are trained together; a run on its own is a list of one.

    Attributes:
        key: what they were started with; another key does not resume them.
        runs: their states.
        rounds: passes in which one or more of them made a step.
        inputs: where the frozen inputs' keys and values are kept, once it is chosen.
        together: how many are trained in one pass, once it is chosen.
        notes: what else is needed to resume them, by run.
        parts: what the key was made of, as digests by name: to say what differs.
    """

    key: str
    runs: list[State] = field(default_factory=list)
    rounds: int = 0
    inputs: str | None = None
    together: int | None = None
    notes: list[dict[str, Any]] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Replace the folder's checkpoint, whole or not at all.

        Raises:
            FileError: it cannot be written.
        """
        # In memory first: torch tells nothing of the system's reason where a disk is full.
        content = BytesIO()
        torch.save(asdict(self), content)
        with writing_to(folder / FILE):
            replace_file(folder / FILE, content.getvalue())

    @classmethod
    def open(
        cls,
        folder: Path | None,
        key: str,
        runs: int = 0,
        parts: Mapping[str, str] = MappingProxyType({}),
    ) -> Checkpoint:
        """The folder's checkpoint, or a new one of so many runs; the folder is made.

        Raises:
            TrainingError: as `load`.
        """
        if folder is not None:
            with writing_to(folder):
                folder.mkdir(parents=True, exist_ok=True)
                for left in folder.glob(f".{FILE}.*.tmp"):  # by a process that was killed
                    left.unlink()
            if found := cls.load(folder, key, parts):
                return found
        return cls(key=key, runs=[State() for _ in range(runs)], parts=dict(parts))

    @classmethod
    def load(
        cls, folder: Path, key: str, parts: Mapping[str, str] = MappingProxyType({})
    ) -> Checkpoint | None:
        """The folder's checkpoint, or None where there is none.

        Raises:
            TrainingError: a damaged file, or one of a run with other settings, data or backbone.
        """
        found = cls.read(folder)
        if found is not None and found.key != key:
            changed = [name for name in parts if found.parts.get(name) != parts[name]]
            raise TrainingError(
                "the checkpoint belongs to a run with other settings, data or backbone",
                where=str(folder / FILE),
                got=f"another {', another '.join(changed)}" if found.parts and changed else None,
                expected="the run it was written by",
                hint="choose another run folder, or start again with --overwrite",
            )
        return found

    @classmethod
    def read(cls, folder: Path) -> Checkpoint | None:
        """The folder's checkpoint, whatever it is of, or None where there is none.

        Raises:
            TrainingError: a damaged file.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            found = cls(**torch.load(path, weights_only=True, map_location="cpu"))
            found.runs = [State(**_current(state)) for state in found.runs]  # type: ignore[arg-type]
        except (OSError, RuntimeError, EOFError, TypeError, pickle.UnpicklingError) as error:
            raise TrainingError(
                "the checkpoint cannot be read",
                where=str(path),
                got=str(error).split("\n")[0],
                expected="a checkpoint of this version of cuecard",
                hint="delete it to start the run again",
            ) from error
        return found


def _current(state: Mapping[str, Any]) -> dict[str, Any]:
    """A saved state's fields by their names of today."""
    return {_RENAMED.get(name, name): value for name, value in state.items()}
