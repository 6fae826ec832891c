"""One sweep of several processes' shards: the same as if a single one had run it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cuecard.errors import ConfigError
from cuecard.runs.folder import RunFolder, differences
from cuecard.runs.run_kinds import SWEEP
from cuecard.runs.sweeps.sweep_recipe import SweepOutcome, SweepRecipe, run_sweep
from cuecard.training.sweeps.space import Space

_WHERE = "--collect"
# What the shards' recipes need not share: how they are run, and which shard they are.
_FREE = SWEEP.free | {"sweep.shard"}


def collect_sweep(
    folders: Sequence[str | Path], *, out: str | Path | None = None, **options: Any
) -> SweepOutcome:
    """Choose among all trials of a sweep's shards by validation, and test the chosen one, once.

    The folder becomes that of the whole sweep: it has every trial's log, the table of trials, and
    the chosen one as a run in `best`. Collecting the same shards again tests nothing again.

    Args:
        folders: those that `run_sweep` with a `shard` has left, all of them.
        out: the whole sweep's folder; by default that of the sweep without shards.
        options: as in `run_sweep`.

    Raises:
        ConfigError: a folder that is no shard, or shards of different sweeps.
        TrainingError: a shard is given twice, is missing or is not finished, or was trained on
            other data or another backbone than the others, or than what is here.
        CuecardError: see `run_sweep`.
    """
    plans = {Path(folder): _plan(Path(folder)) for folder in folders}
    if not plans:
        raise ConfigError("there is nothing to collect", where=_WHERE, expected="shards' folders")
    first = next(iter(plans.values()))
    for folder, plan in plans.items():
        _check_same(folder, first, plan)
    # What reads checkpoints, only now: a mistake in what is named need not wait for it.
    from cuecard.training.storage.checkpoint import Checkpoint  # noqa: PLC0415
    from cuecard.training.sweeps.shards import TrainedShard, TrainedShards  # noqa: PLC0415

    whole = first.without_shard(out)
    total = Space(whole.sweep, whole.recipe.read_method(), whole.recipe.training).total
    trained = TrainedShards(
        [
            TrainedShard(folder, plan.sweep.share, Checkpoint.read(folder))
            for folder, plan in plans.items()
        ],
        total,
    )
    return run_sweep(whole, trained=trained, **options)


def _plan(folder: Path) -> SweepRecipe:
    plan = RunFolder(folder, SweepRecipe).to_resume()
    if plan.sweep.shard is None:
        raise ConfigError(
            "a whole sweep has no shards to collect",
            where=str(folder),
            expected="the folder of a sweep with --shard",
        )
    return plan


def _check_same(folder: Path, first: SweepRecipe, other: SweepRecipe) -> None:
    changed = differences(first.model_dump(mode="json"), other.model_dump(mode="json"), _FREE)
    counts = [plan.sweep.share.count for plan in (first, other)]
    if counts[0] != counts[1]:
        changed = [f"shards of {counts[0]:,} -> of {counts[1]:,}", *changed]
    if changed:
        raise ConfigError(
            "shards of different sweeps",
            where=str(folder),
            got="; ".join(changed),
            expected=f"the settings of {first.folder}",
        )
