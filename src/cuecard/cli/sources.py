"""Where a command's prompt, its backbone and its rows come from: options that many commands share.

Each class is a command's parameter; its fields are the options (`cuecard.cli.fields`).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from cuecard.backbones.quantization.forms import Precision, Quantize, loadable_form
from cuecard.catalogue import BACKBONES, DATASETS, Progress
from cuecard.cli.completion import DEFAULT_REGISTRY, version_names
from cuecard.cli.fields import Flag
from cuecard.errors import ConfigError

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
        from cuecard.names import load_backbone

        made_on = prompt.manifest.backbone
        adapter = self.adapter or _adapter_of(saved)
        if adapter is None and made_on.fingerprint.adapter != "none":
            raise ConfigError(
                "the prompt was made on a model with a LoRA adapter",
                where=made_on.name,
                got="no adapter",
                expected=f"--adapter with the folder of the adapter {made_on.fingerprint.adapter}",
            )
        return load_backbone(
            self.backbone or _backbone_name(prompt, saved),
            dtype=self.dtype,
            device=self.device,
            quantize=self.quantize or loadable_form(made_on.fingerprint.quantize),
            adapter=adapter,
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
    registry: Annotated[str, Flag(metavar="PLACE", envvar="CUECARD_REGISTRY")] = Field(
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
        description="CSV, TSV, JSONL or Parquet file, a folder of images, a saved "
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


def _backbone_name(prompt: Prompt, saved: SavedPrompt | None) -> str:
    """What to load for a prompt when nobody says.

    A prompt may come from anyone, so the name in it is followed into the catalogue alone, never to
    a path or a download; a run's own recipe is followed anywhere.

    Raises:
        ConfigError: neither of them.
    """
    named = prompt.manifest.backbone.name
    if named in BACKBONES:
        return named
    if saved is not None and saved.recipe is not None:
        return saved.recipe.backbone
    raise ConfigError(
        "the prompt's backbone is not in the catalogue, and names from a file are not followed",
        where=None if saved is None else str(saved.folder),
        got=named,
        expected="--backbone with a name, a folder or a hub id",
        hint=f"if you trust it: --backbone {shlex.quote(named)}",
    )


def _adapter_of(saved: SavedPrompt | None) -> Path | None:
    """The adapter that a prompt's own run has or names; no path of another file is followed."""
    if saved is None or saved.adapter is not None:
        return None if saved is None else saved.adapter
    named = None if saved.recipe is None else saved.recipe.adapter
    return None if named is None else Path(named)
