"""A sweep's shards as tasks of a Ray cluster: each loads the backbone once, for all its trials."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cuecard.catalogue import Progress
from cuecard.errors import ConfigError, CuecardError, TrainingError
from cuecard.ray_cluster import import_ray, ray_cluster
from cuecard.runs.folder import RunFolder
from cuecard.runs.sweeps.collect import collect_sweep
from cuecard.runs.sweeps.sweep_recipe import SweepOutcome, SweepRecipe, check_sweep, run_sweep
from cuecard.shards import Shard
from cuecard.training.storage.log import Observer

# How often a shard whose worker was lost begins again; it resumes from its own checkpoint.
_RETRIES = 3


def sweep_on_ray(
    plan: SweepRecipe,
    workers: int,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> SweepOutcome:
    """Train a sweep's shards on a Ray cluster, and collect them here.

    The cluster is that of RAY_ADDRESS; without, one is started on this machine. All of its nodes
    see the same folders as this process. Shards that have ended are not trained again.

    Args:
        workers: how many shards there are, each on a worker of its own.
        overwrite: start again where the folders hold another sweep.

    Raises:
        ConfigError: Ray is not installed, or a sweep that cannot be shared out.
        TrainingError: a shard has failed.
        CuecardError: see `collect_sweep`.
    """
    ray, shards = import_ray(), _shards(plan, workers)
    for each in (*shards, plan):  # their errors are raised before a cluster is asked for anything
        check_sweep(each, overwrite=overwrite)
    plan.recipe.read_task(progress)
    if overwrite:  # here, and not in a task that is begun again
        for shard in shards:
            with RunFolder.of(shard).claimed(shard, overwrite=True):
                pass
    with ray_cluster(None, workers):
        _train(ray, shards, observer)
    folders = [shard.folder for shard in shards]
    return collect_sweep(
        folders, out=plan.folder, observer=observer, progress=progress, overwrite=overwrite
    )


def _shards(plan: SweepRecipe, workers: int) -> list[SweepRecipe]:
    """
    Raises:
        ConfigError: the sweep is a shard itself.
    """
    if plan.sweep.shard is not None:
        raise ConfigError(
            "a shard is not shared out again", where="--on", got=plan.sweep.shard, expected="none"
        )
    return [plan.with_shard(Shard(index, workers)) for index in range(workers)]


def _train(ray: Any, shards: list[SweepRecipe], observer: Observer | None) -> None:
    """
    Raises:
        TrainingError: a shard has failed; the others train on to their ends.
    """
    there = ray.cluster_resources()
    gpus = 1 if there.get("GPU") else 0
    cpus = 1 if gpus else max(1, int(there.get("CPU", 1)) // len(shards))
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=_RETRIES)(train_shard)
    asked = {task.remote(shard.model_dump(mode="json"), str(Path.cwd())): shard for shard in shards}
    left, failed = [*asked], []
    while left:
        (one, *_), left = ray.wait(left)
        shard = asked[one]
        try:
            error = ray.get(one)
        except ray.exceptions.RayError as lost:
            error = str(lost).strip().splitlines()[-1]
        if error is not None:
            failed.append(f"shard {shard.sweep.shard}: {error}")
        if observer is not None:
            place = str(shard.folder)
            observer({"event": "shard", "shard": shard.sweep.shard, "folder": place})
    if failed:
        raise TrainingError(
            "shards of the sweep have failed",
            where="--on ray",
            got="; ".join(failed)[:1000],
            expected="all of them trained",
            hint="the same command resumes them",
        )


def train_shard(values: dict[str, Any], directory: str) -> str | None:
    """Train a shard, in a worker; what went wrong, if it is an error of a user.

    Args:
        values: its recipe's.
        directory: that its paths are relative to.
    """
    os.chdir(directory)
    try:
        run_sweep(SweepRecipe.parse(values))
    except CuecardError as error:
        return str(error)
    return None
