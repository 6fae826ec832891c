"""The trackers by their names, and which packages they need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from cuecard.errors import ConfigError
from cuecard.tracking.mlflow import MLflow
from cuecard.tracking.tensorboard import WRITERS, TensorBoard
from cuecard.tracking.tracker import Tracker
from cuecard.tracking.trackio import Trackio
from cuecard.tracking.wandb import WeightsAndBiases

TrackerName = Literal["tensorboard", "mlflow", "wandb", "trackio"]
ReportTo = Annotated[
    tuple[TrackerName, ...],
    Field(
        exclude_if=lambda names: not names,
        description="Send the run's curves to these trackers as well, separated by commas: "
        f"{', '.join(get_args(TrackerName))}.",
    ),
]
"""A recipe's setting."""


@dataclass(frozen=True)
class TrackerKind:
    """A tracker.

    Attributes:
        packages: any one of them is enough; the first that is there is used.
        make: a run's folder and that package -> the tracker.
    """

    packages: tuple[str, ...]
    make: Callable[[Path, str], Tracker]

    @property
    def package(self) -> str | None:
        """The package that is used; None where there is none."""
        # A mere folder of that name, such as wandb/ with its files, is found without an origin.
        specs = ((name, find_spec(name)) for name in self.packages)
        return next((name for name, spec in specs if spec is not None and spec.origin), None)


TRACKERS: Mapping[TrackerName, TrackerKind] = {
    "tensorboard": TrackerKind(tuple(WRITERS), TensorBoard),
    "mlflow": TrackerKind(("mlflow",), MLflow),
    "wandb": TrackerKind(("wandb",), WeightsAndBiases),
    "trackio": TrackerKind(("trackio",), Trackio),
}


def check_installed(names: Iterable[TrackerName], where: str = "--report-to") -> None:
    """
    Raises:
        ConfigError: a tracker's package is not installed.
    """
    for name in names:
        if TRACKERS[name].package is None:
            raise ConfigError(
                f"the package of {name} is not installed",
                where=where,
                got=f"no {' or '.join(TRACKERS[name].packages)}",
                expected=f"pip install 'cuecard[{name}]'",
            )
