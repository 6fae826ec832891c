"""Where a command's prompt, its backbone and its rows come from: options that many commands share.

Each class is a command's parameter; its fields are the options (`cuecard.cli.fields`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from cuecard.backbones.quantization.forms import Precision, Quantize
from cuecard.catalogue import BACKBONES, DATASETS, Progress
from cuecard.cli.completion import version_names
from cuecard.cli.fields import Flag
from cuecard.registry.default_place import DEFAULT_REGISTRY, VARIABLE

if TYPE_CHECKING:
    from cuecard.artifacts import Prompt
    from cuecard.artifacts.bound_prompt import BoundPrompt
    from cuecard.saved_prompts import SavedPrompt
    from cuecard.tasks import TaskSpec
    from cuecard.types import Backbone, Record

_LOADED = ("backbone", "dtype", "device", "quantize", "adapter")


class _Source(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    titles: ClassVar[Mapping[str, str]] = dict.fromkeys(_LOADED, "Backbone")


class BackboneSource(_Source):
    """Which backbone, and how it is loaded."""

    backbone: Annotated[str | None, Flag(metavar="NAME", names=lambda _: BACKBONES)] = Field(
        default=None,
        description="Catalogue name, local folder or hub id; by default the one the prompt names.",
    )
    dtype: Precision = Field(default="auto", description="Floating-point type to compute in.")
    device: Annotated[str, Flag(names=lambda _: ("auto", "cpu", "cuda"))] = Field(
        default="auto", description="auto, cpu, cuda or cuda:N."
    )
    quantize: Quantize | None = Field(
        default=None,
        description="How the backbone's weights are stored; by default as the prompt was made on.",
    )
    adapter: Annotated[Path | None, Flag(metavar="FOLDER")] = Field(
        default=None,
        description="A LoRA adapter in PEFT's format, merged into the backbone; by default the "
        "run's own.",
    )

    def load_for(
        self, prompt: Prompt, saved: SavedPrompt | None, progress: Progress | None
    ) -> Backbone:
        """The backbone that a prompt was made for, not yet compared with it.

        Args:
            saved: where the prompt lies, which may say what to load and which adapter it needs.

        Raises:
            BackboneError: it cannot be loaded.
            ConfigError: the prompt alone does not say what to load.
        """
        from cuecard.saved_prompts import load_own_backbone

        return load_own_backbone(
            prompt,
            saved,
            self.backbone,
            dtype=self.dtype,
            device=self.device,
            quantize=self.quantize,
            adapter=self.adapter,
            progress=progress,
        )


class NamedBackbone(BackboneSource):
    """A backbone that no prompt names: the command line says all of it."""

    backbone: Annotated[str, Flag(metavar="NAME", names=lambda _: BACKBONES)] = Field(
        description="The frozen model: a catalogue name, a local folder or a hub id."
    )
    quantize: Quantize = Field(default="none", description="How the backbone's weights are stored.")
    adapter: Annotated[Path | None, Flag(metavar="FOLDER")] = Field(
        default=None, description="A LoRA adapter in PEFT's format, merged into the backbone."
    )

    def load(self, progress: Progress | None) -> Backbone:
        """Load it.

        Raises:
            BackboneError: it cannot be loaded.
        """
        from cuecard.names import load_backbone

        return load_backbone(
            self.backbone,
            dtype=self.dtype,
            device=self.device,
            quantize=self.quantize,
            adapter=self.adapter,
            progress=progress,
        )


class SavedSource(_Source):
    """Which saved prompt."""

    prompt: Annotated[Path, Flag("PROMPT", names=version_names)] = Field(
        description="A run's folder, a prompt's, or a version in a registry (NAME@NUMBER, "
        "NAME@ALIAS)."
    )
    registry: Annotated[str, Flag(metavar="PLACE", envvar=VARIABLE)] = Field(
        default=DEFAULT_REGISTRY,
        description="The registry: a folder, or a URL such as s3://bucket/prompts.",
    )

    def find(self) -> SavedPrompt:
        """Where it lies.

        Raises:
            CuecardError: see `find_prompt`.
        """
        from cuecard.saved_prompts import find_prompt

        return find_prompt(self.prompt, self.registry)


class PromptSource(BackboneSource, SavedSource):
    """Which saved prompt, and the backbone that it is asked on."""

    def open(self, saved: SavedPrompt, progress: Progress | None = None) -> BoundPrompt:
        """Load the backbone that the prompt was made for and bind it there; all checks are run.

        Raises:
            ArtifactError: a prompt that cannot be trusted, or not on this backbone.
            BackboneError: the backbone cannot be loaded.
            ConfigError: the prompt alone does not say what to load.
        """
        # The files first: a broken prompt is reported before a model is fetched and loaded.
        prompt = saved.prompt
        return prompt.bind(self.load_for(prompt, saved, progress))


class LabelledRows(_Source):
    """Which labelled rows."""

    data: Annotated[str, Flag("DATA", names=lambda _: DATASETS)] = Field(
        description="CSV, TSV, JSONL (.gz too), Parquet or Excel file, a folder of images, a saved "
        "datasets folder, a catalogue dataset, or a hub dataset's name."
    )
    text_field: Annotated[str | None, Flag(metavar="COLUMN")] = Field(
        default=None, description="Column of the text; by default text, or the run's."
    )
    label_field: Annotated[str | None, Flag(metavar="COLUMN")] = Field(
        default=None, description="Column of the label; by default as in training."
    )
    split: Annotated[str | None, Flag(metavar="NAME")] = Field(
        default=None, description="The split to read of a saved or hub dataset."
    )
    limit: int | None = Field(default=None, ge=1, description="Read only the first N rows.")

    def read(
        self, spec: TaskSpec, text_field: str | None, *, asked: bool = False, json: bool
    ) -> tuple[list[Record], dict[str, int]]:
        """The rows that a task can score, and how many rows have each label that it lacks.

        Args:
            text_field: the column of the text where none was given.
            asked: whether the task's labels are those asked for, not those of the training.
            json: whether the output is for machines, without a progress bar.

        Raises:
            DataError: rows that cannot be used.
        """
        from cuecard.cli.rows import known_rows, labelled_rows
        from cuecard.cli.views.progress import fetch_progress
        from cuecard.names import data_source

        with fetch_progress(json=json) as progress:
            source = data_source(self.data, progress)
        records = labelled_rows(
            spec,
            source,
            text_field=self.text_field or text_field,
            label_field=self.label_field,
            split=self.split,
            limit=self.limit,
        )
        return known_rows(spec, records, asked)
