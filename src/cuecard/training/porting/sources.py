"""A prompt to port: what it asks, and what is trained in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cuecard.artifacts import Prompt
from cuecard.artifacts.lineage import PortedFrom
from cuecard.artifacts.tensors import InjectionName
from cuecard.methods import METHODS, MethodSettings, method_settings
from cuecard.tasks import TaskSpec
from cuecard.training.checks import check_words
from cuecard.training.porting.settings import PortConfig
from cuecard.types import Record

# What makes such a prompt, where what did make it cannot be trained for a task alone: a text that
# was compiled, an average, an import. Words that a search found get vectors beside them.
_MAKERS: Mapping[InjectionName, str] = {
    "input-tokens": "prompt-tuning",
    "prefix-kv": "p-tuning-v2",
    "late-prefix-kv": "prefix-tuning",
    "layer-tokens": "deep-prompts",
    "none": "prompt-tuning",
}


@dataclass(frozen=True)
class PortSource:
    """A prompt to port, and what it is asked.

    Attributes:
        name: what reports and folders call it.
        prompt: the old prompt.
        inputs: what it is asked to be learnt from, without labels.
        labelled: rows with targets, to score both on; may be empty.
        version: its number in a registry; None for a folder.
    """

    name: str
    prompt: Prompt
    inputs: Sequence[Record]
    labelled: Sequence[Record] = ()
    version: int | None = None

    @property
    def origin(self) -> PortedFrom:
        """What the new prompt says of it."""
        return PortedFrom(
            name=self.name,
            version=self.version,
            digest=self.prompt.digest,
            backbone=self.prompt.manifest.backbone.name,
        )

    @property
    def spec(self) -> TaskSpec:
        """What the new prompt is asked: the same, but in words where the old one has a head.

        Raises:
            ConfigError: a task that is not answered in words.
        """
        spec = self.prompt.spec.in_words.model_copy(update={"prefix_labels": "auto"})
        check_words(
            spec,
            f"prompt {self.name}",
            "only answers in words can be learnt by another backbone's prompt",
            hint="train it on labelled rows: cuecard train --backbone",
        )
        return spec

    def method(self, config: PortConfig) -> MethodSettings:
        """What is trained: the old prompt's method and length, with the new backbone's own start.

        Raises:
            ConfigError: a method that takes neither its place nor its length.
        """
        manifest = self.prompt.manifest
        own = METHODS.get(manifest.method)
        name = config.method
        if name is None:
            alone = own is not None and not own.several_tasks
            name = manifest.method if alone else _MAKERS.get(manifest.injection, "prompt-tuning")
        settings: dict[str, Any] = {"slot": manifest.slot}
        length = config.length
        if length is None and manifest.injection != "none":
            length = self.prompt.injection().length
        if length is not None and "length" in METHODS[name].model_fields:
            settings["length"] = length
        return method_settings(name, settings, f"prompt {self.name}, method")
