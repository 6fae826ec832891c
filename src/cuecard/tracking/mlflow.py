"""MLflow: at `MLFLOW_TRACKING_URI`, in `MLFLOW_EXPERIMENT_NAME` or the experiment cuecard."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from cuecard.tracking.readings import Reading
from cuecard.tracking.tracker import title

EXPERIMENT = "cuecard"
# What MLflow takes in one call, https://mlflow.org/docs/latest/rest-api.html.
_METRICS, _PARAMS, _LONGEST = 1000, 100, 6000
_REFUSED = re.compile(r"[^\w\-. :/]", re.ASCII)  # in names


class MLflow:
    """An experiment, with a run for each part of ours; the parts are below the run itself."""

    def __init__(self, folder: Path, package: str) -> None:
        mlflow = import_module("mlflow")
        self._client = mlflow.MlflowClient()
        self._folder = folder
        self._experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        self._parent = ""
        self.place = f"{mlflow.get_tracking_uri()} {self._experiment}"

    def has(self, run: str, known: str) -> bool:
        """See `Tracker`.

        Raises:
            MlflowException: the server says anything else than that it has no such run.
        """
        try:
            found = self._client.get_run(known)
        except import_module("mlflow.exceptions").MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        return bool(found.info.lifecycle_stage == "active")

    def open(self, run: str, known: str | None) -> MLflowRun:
        """See `Tracker`."""
        if known is not None:
            self._client.update_run(known, status="RUNNING")
        made = known or self._start(run)
        if not run:
            self._parent = made
        return MLflowRun(made, self._client)

    def _start(self, run: str) -> str:
        there = self._client.get_experiment_by_name(self._experiment)
        id_ = self._client.create_experiment(self._experiment) if there is None else None
        experiment = there.experiment_id if id_ is None else id_
        tags = {"mlflow.parentRunId": self._parent} if run else {}
        made = self._client.create_run(experiment, run_name=title(self._folder, run), tags=tags)
        return str(made.info.run_id)


class MLflowRun:
    """See `TrackedRun`."""

    def __init__(self, id_: str, client: Any) -> None:
        self.id, self._client = id_, client
        self._entities = import_module("mlflow.entities")

    def write_settings(self, values: Mapping[str, Any]) -> None:
        """See `TrackedRun`."""
        params = [
            self._entities.Param(_name(name), str(value)[:_LONGEST])
            for name, value in values.items()
        ]
        for start in range(0, len(params), _PARAMS):
            self._client.log_batch(self.id, params=params[start : start + _PARAMS])

    def write(self, readings: Sequence[Reading]) -> None:
        """See `TrackedRun`."""
        now = int(time.time() * 1000)
        metrics = [
            self._entities.Metric(_name(name), value, now, reading.step)
            for reading in readings
            for name, value in reading.values.items()
        ]
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(self.id, metrics=metrics[start : start + _METRICS])

    def close(self, *, failed: bool) -> None:
        """See `TrackedRun`."""
        self._client.set_terminated(self.id, "FAILED" if failed else "FINISHED")


def _name(name: str) -> str:
    return _REFUSED.sub("_", name)
