"""The shards of a sweep, trained apart, as the checkpoint of the whole sweep."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuecard.errors import TrainingError
from cuecard.plain_files import writing_to
from cuecard.shards import Shard
from cuecard.training.setup import key_of
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import FILE as LOG
from cuecard.training.sweeps.runner import SHARD, trial_folder

_WHERE = "--collect"


@dataclass(frozen=True)
class TrainedShard:
    """What one shard's process has left.

    Attributes:
        folder: its own.
        share: which of the trials are its own.
        state: its checkpoint; None where no step was made.
    """

    folder: Path
    share: Shard
    state: Checkpoint | None

    @property
    def done(self) -> int:
        """How many of its trials have ended."""
        runs = [] if self.state is None else self.state.runs
        return sum(run.ended is not None for run in runs)

    def differing(self, parts: Mapping[str, str]) -> list[str]:
        """What it was not trained with, of these parts of a key."""
        own = {} if self.state is None else self.state.parts
        return [name for name in parts if name != SHARD and own.get(name) != parts[name]]


class TrainedShards:
    """All shards of a sweep, finished.

    Args:
        shards: in any order.
        total: trials of the whole sweep.

    Raises:
        TrainingError: a shard is given twice, is missing or is not finished, or they were not
            trained on the same data and backbone.
    """

    def __init__(self, shards: Sequence[TrainedShard], total: int) -> None:
        self._shards, self._total = sorted(shards, key=lambda one: one.share.index), total
        self._check_twice()
        self._check_finished()
        self._check_alike()

    def check_parts(self, parts: Mapping[str, str]) -> None:
        """
        Args:
            parts: of the whole sweep's key, made here.

        Raises:
            TrainingError: what the shards were trained with is not what is here.
        """
        changed = self._shards[0].differing(parts)
        if changed:
            raise TrainingError(
                "the shards were trained with something else than what is here",
                where=str(self._shards[0].folder),
                got=f"another {', another '.join(changed)}",
                expected="the data, the backbone and the precision of the shards",
            )

    def put_into(self, folder: Path, parts: Mapping[str, str]) -> None:
        """Make a folder that of the whole sweep, with all trials trained and none tested.

        Args:
            parts: of the whole sweep's key.

        Raises:
            TrainingError: the folder holds the same sweep with other results.
            FileError: it cannot be written.
        """
        whole = self._whole(parts)
        before = Checkpoint.load(folder, whole.key, parts)
        if before is not None and [*map(_ends, before.runs)] != [*map(_ends, whole.runs)]:
            raise TrainingError(
                "the folder holds the same sweep with other results",
                where=str(folder),
                got="trials that are not those of the shards",
                expected="a folder of its own",
                hint="choose another folder (--out), or replace that one with --overwrite",
            )
        for one in self._shards:
            for number in one.share.dealt(self._total):
                place = trial_folder(folder, number)
                with writing_to(place):
                    place.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(trial_folder(one.folder, number) / LOG, place / LOG)
        if before is None:
            whole.save(folder)

    def _whole(self, parts: Mapping[str, str]) -> Checkpoint:
        states = [one.state for one in self._shards if one.state is not None]
        runs: dict[int, State] = {}
        notes: dict[int, dict[str, Any]] = {}
        for one, state in zip(self._shards, states, strict=True):
            numbers = one.share.dealt(self._total)
            runs |= dict(zip(numbers, state.runs, strict=True))
            notes |= dict(zip(numbers, state.notes, strict=True))
        return Checkpoint(
            key=key_of(parts),
            runs=[runs[number] for number in range(self._total)],
            rounds=sum(state.rounds for state in states),
            inputs="recompute",  # nothing is left to train that a cache would be read for
            together=max(state.together or 1 for state in states),
            notes=[notes[number] for number in range(self._total)],
            parts=dict(parts),
        )

    def _check_twice(self) -> None:
        for one, other in zip(self._shards, self._shards[1:], strict=False):
            if one.share == other.share:
                raise TrainingError(
                    "a shard is given twice",
                    where=_WHERE,
                    got=f"{one.folder} and {other.folder}, both shard {one.share}",
                    expected="each shard once",
                )

    def _check_finished(self) -> None:
        count = self._shards[0].share.count
        there = {one.share: one for one in self._shards}
        lacking, hint = [], None
        for share in (Shard(index, count) for index in range(count)):
            one, own = there.get(share), len(share.dealt(self._total))
            if one is None:
                lacking.append(f"shard {share} is missing")
            elif one.done < own:
                lacking.append(f"shard {share} has finished {one.done} of {own} trials")
                hint = hint or f"cuecard sweep --resume {shlex.quote(str(one.folder))}"
        if lacking:
            raise TrainingError(
                "the sweep is not finished",
                where=_WHERE,
                got="; ".join(lacking),
                expected=f"all {count:,} shards, with all of their trials",
                hint=hint or "train them with the same command and --shard",
            )

    def _check_alike(self) -> None:
        first, *others = self._shards
        assert first.state is not None
        for one in others:
            changed = one.differing(first.state.parts)
            if changed:
                raise TrainingError(
                    "the shards were not trained alike",
                    where=str(one.folder),
                    got=f"another {', another '.join(changed)}",
                    expected=f"what {first.folder} was trained with",
                )


def _ends(state: State) -> tuple[object, ...]:
    """Where a trial ended, to tell two sittings' results apart."""
    return state.ended, state.step, state.best_step, state.best_score, state.validations
