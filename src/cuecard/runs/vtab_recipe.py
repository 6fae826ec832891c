"""A run of the VTAB-1k protocol in one piece: data sets, a backbone, a method, the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from cuecard.backbones.quantization.forms import Precision
from cuecard.catalogue import Progress
from cuecard.comparison.vtab_scores import VtabScore, mean_over_groups, mean_over_tasks
from cuecard.comparison.vtab_settings import VtabSettings
from cuecard.errors import ConfigError
from cuecard.evaluation.report import write_json
from cuecard.methods import MethodSettings, method_settings
from cuecard.plain_files import is_file_name
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.folder import RunFolder
from cuecard.runs.recipe_file import RunRecipe
from cuecard.runs.recipe_method import complete_method
from cuecard.runs.recipe_sections import DeviceName
from cuecard.runs.run_kinds import VTAB
from cuecard.training.storage.log import Observer

JSON = "vtab.json"
KIND = "image-classification"
OWN = "own"
"""The group of data that no group is given for."""

GROUPS: Mapping[str, str] = {
    "cifar-10": "natural",
    "fashion-mnist": "natural",
    "bloodmnist": "specialized",
    "organamnist": "specialized",
}
"""Data set of the catalogue -> the group that VTAB would count it to."""


class VtabRecipe(RunRecipe):
    """Everything that a run of the protocol depends on."""

    KIND = VTAB

    data: tuple[str, ...] = Field(
        min_length=1,
        description="Labelled images: a folder with a folder for each class, an .npz file, a table "
        "with paths, or a catalogue dataset such as cifar-10.",
    )
    groups: dict[str, str] = Field(
        default_factory=dict,
        description="The group that a data set is averaged with, such as cifar-10=natural; by "
        "default the catalogue's as VTAB has them, and all others in one.",
    )
    backbone: str = Field(
        default="dinov2-small",
        description="A vision encoder: a catalogue name, a local folder or a hub id.",
    )
    dtype: Precision = Field(default="auto", description="What the backbone computes in.")
    device: DeviceName = "auto"
    method: dict[str, Any] = Field(
        default_factory=dict,
        validate_default=True,
        description="The method's name and its settings, see `cuecard methods`.",
    )
    protocol: VtabSettings = Field(default=VtabSettings())
    out: str = Field(default="runs/vtab", description="The run's folder.")

    @field_validator("method")
    @classmethod
    def _complete_method(cls, values: dict[str, Any]) -> dict[str, Any]:
        return complete_method({"name": "deep-prompts", "length": 10, **values})

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [name_of(path) for path in self.data]
        for path, name in zip(self.data, names, strict=True):
            if not is_file_name(name):
                raise ConfigError(
                    "the data set has no name that a folder can have",
                    where="data",
                    got=path,
                    expected="a folder or a file with a name, or a catalogue dataset",
                )
        twice = sorted({name for name in names if names.count(name) > 1})
        unknown = sorted(self.groups.keys() - set(names))
        if twice or unknown:
            raise ConfigError(
                "two data sets have one name" if twice else "there is no such data set",
                where="data" if twice else "groups",
                got=", ".join(twice or unknown),
                expected="different names" if twice else ", ".join(names),
            )
        return self

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.out)

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        return (*self.data, self.backbone)

    def in_folder(self, folder: Path) -> Self:
        """The same recipe for another folder."""
        return self.model_copy(update={"out": str(folder)})

    def group_of(self, name: str) -> str:
        """What a data set is averaged with."""
        return self.groups.get(name) or GROUPS.get(name, OWN)

    def read_method(self) -> MethodSettings:
        """The method's settings.

        Raises:
            ConfigError: a prompt to start from, which the protocol has not.
        """
        settings = {k: v for k, v in self.method.items() if k not in ("name", "prompt")}
        if self.method.get("prompt") is not None:
            raise ConfigError(
                "the protocol starts from no prompt",
                where="method.prompt",
                got=self.method["prompt"],
                expected="a method and its settings alone",
            )
        return method_settings(self.method["name"], settings, "the recipe, method")


def name_of(path: str) -> str:
    """What reports and folders call a data set: a path's last part, or a catalogue's name."""
    here = Path(path)
    if not here.exists():
        return path.replace("/", "-")
    return here.name if is_file_name(here.name) else here.resolve().name


@dataclass(frozen=True)
class VtabOutcome:
    """What the protocol led to.

    Attributes:
        recipe: what was asked.
        scores: each data set's, in order.
    """

    recipe: VtabRecipe
    scores: tuple[VtabScore, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as `vtab.json` has it."""
        recipe = self.recipe.model_dump(mode="json", exclude={"data", "groups", "out", "device"})
        return {
            "protocol": "VTAB-1k",
            "settings": recipe,
            "tasks": [score.to_dict() for score in self.scores],
            "mean_over_tasks": mean_over_tasks(self.scores),
            "mean_over_groups": mean_over_groups(self.scores),
        }


@with_progress_bar
def run_vtab(
    plan: VtabRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> VtabOutcome:
    """Run the protocol; its folder gets `vtab.json`, every trial's log and every seed's prompt.

    The same run in the folder is resumed.

    Args:
        observer: called with every event; by default a progress bar in a terminal or a notebook.
        overwrite: start again where the folder holds another one.

    Raises:
        CuecardError: see `Task.from_file`, `load_backbone` and `VtabRunner`.
    """
    place, method = RunFolder.of(plan), plan.read_method()
    place.check(plan, overwrite=overwrite)
    # What reads, trains and reports, only now: a mistake in what is named need not wait for it.
    from cuecard.comparison.sealed_task import SealedTask  # noqa: PLC0415
    from cuecard.comparison.vtab import VtabRunner  # noqa: PLC0415
    from cuecard.names import data_source, load_backbone  # noqa: PLC0415
    from cuecard.tasks import Task  # noqa: PLC0415

    tasks = [
        SealedTask.of(
            name_of(path),
            plan.group_of(name_of(path)),
            Task.from_file(data_source(path, progress), kind=KIND),
            examples=plan.protocol.examples,
            selection_rows=plan.protocol.selection_rows,
            test_rows=plan.protocol.test_rows,
        )
        for path in plan.data
    ]
    backbone = load_backbone(plan.backbone, dtype=plan.dtype, device=plan.device, progress=progress)
    tell = observer or (lambda event: None)
    runner = VtabRunner(backbone, tasks, method, plan.protocol, plan.folder, tell)
    with place.claimed(plan, overwrite=overwrite, fits=runner.fits) as folder:
        outcome = VtabOutcome(plan, runner.run())
        write_json(outcome.to_dict(), folder / JSON)
    return outcome


def resume_vtab(folder: str | Path, **options: Any) -> VtabOutcome:
    """Resume the run in a folder; options as in `run_vtab`.

    Raises:
        TrainingError: there is no such run.
    """
    return run_vtab(RunFolder(Path(folder), VtabRecipe).to_resume(), **options)
