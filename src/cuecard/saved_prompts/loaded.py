"""A saved prompt that is asked without further ado: it finds its own backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from cuecard.artifacts import Prompt
from cuecard.artifacts.bound_prompt import BoundPrompt
from cuecard.backbones.quantization.forms import Precision, Quantize
from cuecard.catalogue import Progress
from cuecard.evaluation.evaluate import Evaluation
from cuecard.registry.default_place import default_registry
from cuecard.saved_prompts.finding import SavedPrompt, find_prompt
from cuecard.saved_prompts.own_backbone import load_own_backbone
from cuecard.tasks.given_rows import RowsLike
from cuecard.tasks.spec import TaskSpec
from cuecard.tasks.task import text_columns
from cuecard.types import Backbone, Prediction

if TYPE_CHECKING:
    from torch import Tensor


class LoadedPrompt:
    """A saved prompt that loads its backbone when it is first asked, once. `load` makes one.

    Args:
        place: what was loaded.
        saved: the prompt, and what its run knows of it.
        model: loads the backbone.
    """

    def __init__(self, place: str, saved: SavedPrompt, model: Callable[[], Backbone]) -> None:
        self.place, self.saved = place, saved
        self._model = model
        self._bound: BoundPrompt | None = None
        self._lock = Lock()  # of two threads that ask first, one loads

    def __repr__(self) -> str:
        name = self.prompt.manifest.backbone.name
        return f"LoadedPrompt({self.place!r}: {self.spec.kind} on {name})"

    def _repr_html_(self) -> str:
        """A notebook's view: the prompt's."""
        return self.prompt._repr_html_()

    @property
    def prompt(self) -> Prompt:
        """The prompt's numbers and its manifest."""
        return self.saved.prompt

    @property
    def spec(self) -> TaskSpec:
        """The task that it was made for."""
        return self.saved.spec

    @property
    def backbone(self) -> Backbone:
        """The model that answers; give it to `load` for more prompts on the same one."""
        return self.bound.backbone

    @property
    def bound(self) -> BoundPrompt:
        """The prompt on its backbone, which is loaded now if nothing was asked yet.

        Raises:
            ArtifactError: it does not answer there as it did when it was saved.
            BackboneError: the backbone cannot be loaded.
            ConfigError: neither the prompt nor its run says what to load.
            WrongBackboneError: it was made for another backbone.
        """
        with self._lock:
            if self._bound is None:
                columns = text_columns(self.spec.field_names, self.saved.text_field)
                self._bound = replace(self.prompt.bind(self._model()), columns=columns)
            return self._bound

    def predict(self, rows: RowsLike, **options: Any) -> list[Prediction]:
        """Answer rows: one prediction each, in their order.

        Args:
            rows: texts or images where the task has one field, mappings from fields to values, a
                data frame or a set of `datasets`. A column may also be called as in the data that
                the run was trained on.
            options: as for `BoundPrompt.predict`, such as `batch_rows`.

        Raises:
            CuecardError: as `bound` and `BoundPrompt.predict`.
        """
        return self.bound.predict(rows, **options)

    def evaluate(self, rows: RowsLike, **options: Any) -> Evaluation:
        """Answer labelled rows and compare the answers; see `BoundPrompt.evaluate`."""
        return self.bound.evaluate(rows, **options)

    def generate(self, rows: RowsLike, **options: Any) -> list[str]:
        """The texts that the model writes for rows; see `BoundPrompt.generate`."""
        return self.bound.generate(rows, **options)

    def embed(self, texts: Sequence[str], **options: Any) -> Tensor:
        """[n, H] the texts' vectors; see `BoundPrompt.embed`."""
        return self.bound.embed(texts, **options)


def load(
    place: str | Path,
    *,
    registry: str | None = None,
    backbone: str | Path | Backbone | None = None,
    dtype: Precision = "auto",
    device: str = "auto",
    quantize: Quantize | None = None,
    adapter: str | Path | None = None,
    progress: Progress | None = None,
) -> LoadedPrompt:
    """Load a saved prompt, to be asked at once: `load("runs/tickets").predict(["my card ..."])`.

    The prompt is read and checked here; its backbone is loaded when it is first asked.

    Args:
        place: a run's folder, also a sweep's or a search's, a prompt's own, or a version such as
            tickets@production or tickets@3.
        registry: where versions are looked up; by default CUECARD_REGISTRY, or `./prompts`.
        backbone: a model that is loaded already, such as another prompt's `backbone`, or its name;
            by default the run's own, or the one in the catalogue that the prompt names.
        quantize: by default as the prompt was made on.
        adapter: by default the run's own.
        dtype, device, progress: as in `load_backbone`.

    Raises:
        ArtifactError: no prompt there, or one that cannot be trusted.
        ConfigError: a run whose recipe cannot be read.
        RegistryError: a version that cannot be had.
    """
    saved = find_prompt(place, registry or default_registry())
    prompt = saved.prompt

    def model() -> Backbone:
        if backbone is not None and not isinstance(backbone, str | Path):
            return backbone
        return load_own_backbone(
            prompt,
            saved,
            backbone,
            dtype=dtype,
            device=device,
            quantize=quantize,
            adapter=adapter,
            progress=progress,
        )

    return LoadedPrompt(str(place), saved, model)
