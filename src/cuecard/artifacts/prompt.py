"""A saved prompt: its vectors, and what is needed to check and to use them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cuecard.artifacts.adapter_config import PeftType, adapter_config
from cuecard.artifacts.bound_prompt import BoundPrompt
from cuecard.artifacts.files import (
    MANIFEST_FILE,
    PEFT_FILE,
    TENSOR_FILE,
    publish_folder,
    read_folder,
    require,
)
from cuecard.artifacts.lineage import PortedFrom
from cuecard.artifacts.manifest import (
    Manifest,
    ParametersEntry,
    TensorEntry,
    software_versions,
)
from cuecard.artifacts.prompt_backbone import PromptBackbone, check_backbone
from cuecard.artifacts.safetensors_file import (
    TENSOR_NAME,
    check_finite,
    parse_tensors,
    tensor_file,
)
from cuecard.artifacts.seen_rows import RowsEntry, SeenRows, seen_rows
from cuecard.artifacts.tensors import (
    LABELS_NAME,
    MIX_NAMES,
    RANKS,
    SHIFT_NAMES,
    TOWER_NAMES,
    VISION_LAYERS_NAME,
    LazyTensors,
    arrays_of,
    head_in,
    head_name,
    injection_name,
    injection_of,
    tensors_of,
    vectors_of,
    without_head,
)
from cuecard.artifacts.test_vectors import check_test_vectors, default_probes, make_test_vectors
from cuecard.errors import ArtifactError, ConfigError
from cuecard.html_tables import html_facts, html_view
from cuecard.lazy import torch
from cuecard.tasks.given_rows import RowsLike
from cuecard.tasks.spec import TaskSpec
from cuecard.types import (
    Backbone,
    Encoded,
    Head,
    Injection,
    InputTokens,
    LabelTokens,
    NamePlace,
    Prediction,
    PrefixKV,
    Record,
    Slot,
    by_tower,
)
from cuecard.validation_text import first_of, first_problem

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt as it is saved, loaded and served. `create`, `load` and `from_files` make one.

    Attributes:
        tensors: its numbers by name, float32 on the CPU.
        manifest: everything else.
        source: the folder or address it was read from, for messages; empty for a new one.
    """

    tensors: Mapping[str, Tensor]
    manifest: Manifest
    source: str = ""

    @classmethod
    def create(
        cls,
        injection: Injection | Tensor,
        *,
        backbone: Backbone,
        spec: TaskSpec,
        method: str,
        method_config: Mapping[str, Any],
        slot: Slot,
        data_hash: str = "",
        rows: RowsEntry | None = None,
        seed: int | None = None,
        parameters: ParametersEntry | None = None,
        metrics: Mapping[str, Any] | None = None,
        prior: Mapping[str, float] | None = None,
        head: Head | None = None,
        probes: Sequence[Encoded] = (),
        created_with: Mapping[str, str] | None = None,
    ) -> Prompt:
        """Make a prompt from what was trained, and its test vectors by running the backbone.

        Args:
            injection: any float type and device; copied. A tensor [P, H] is an `InputTokens`.
            rows: which rows it was trained and selected on, for warnings when it is scored on them.
            parameters: how many numbers were trained for it, of how many.
            metrics: anything that is finite JSON; no timings (they would change the digest).
            head: what was trained beside it, for a task with a head.
            probes: inputs of the test vectors, stored in the artefact as token ids; by default two
                fixed sentences in the task's template.
            created_with: more entries beside the software versions.

        Raises:
            ArtifactError: vectors of a wrong shape, or NaN or infinity among them.
            ConfigError: settings or metrics that cannot be stored.
        """
        given = InputTokens(injection) if isinstance(injection, torch.Tensor) else injection
        spec.check_head(head, backbone)
        layers = () if head is None else head.layers
        kept, kind = tensors_of(given, head), injection_name(given)
        key_heads = given.keys_values.shape[2] if isinstance(given, PrefixKV) else None
        around = by_tower(given).get("labels")
        place: NamePlace = around.place if isinstance(around, LabelTokens) else "end"
        _check_new(given, without_head(kept), backbone)
        for array in arrays_of(kept).values():
            check_finite(array, "the trained vectors")
        plain = injection_of(
            kept,
            kind,
            layers=backbone.num_layers,
            hidden_size=backbone.hidden_size,
            key_heads=key_heads,
            place=place,
            names=[*spec.label_names.values()],
        )
        probes = probes or default_probes(spec, backbone, slot)
        tests = make_test_vectors(backbone, spec, plain, probes, head_in(kept, layers))
        peft = adapter_config(
            slot,
            without_head(kept),
            num_layers=backbone.num_layers,
            backbone=backbone.name,
            task_type=backbone.peft_task,
            key_heads=key_heads,
        )
        try:
            manifest = Manifest(
                method=method,
                method_config=dict(method_config),
                injection=kind,
                key_heads=key_heads,
                head=head_name(head),
                name_place=place,
                head_layers=layers,
                slot=slot,
                task=spec.recorded(backbone.tokenizer).model_dump(mode="json"),
                backbone=PromptBackbone.of(backbone, labels=around is not None),
                data_hash=data_hash,
                rows=rows,
                seed=seed,
                parameters=parameters,
                metrics=dict(metrics or {}),
                prior=None if prior is None else dict(prior),
                test_vectors=tests,
                tensors={name: TensorEntry.of(array) for name, array in arrays_of(kept).items()},
                adapter_config_sha256=None if peft is None else hashlib.sha256(peft).hexdigest(),
                created_with={**software_versions(), **(created_with or {})},
            )
        except ValidationError as error:
            raise _cannot_store(error) from error
        return cls(kept, manifest)

    @classmethod
    def load(
        cls, folder: str | Path, backbone: Backbone | None = None, *, check_vectors: bool = True
    ) -> Prompt:
        """Read a prompt folder, each file once; nothing in it is believed before it is checked.

        Args:
            folder: a folder that `save` made.
            backbone: the model to use it with, checked as `bind` checks it; without one, only the
                files are.
            check_vectors: also run the test vectors on the backbone.

        Raises:
            WrongBackboneError: the prompt was made for another backbone.
            ArtifactError: anything missing, altered, malformed or out of bounds.
        """
        prompt = cls.from_files(read_folder(Path(folder)), str(folder))
        if backbone is not None:
            prompt.bind(backbone, check_vectors=check_vectors)
        return prompt

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], source: str = "a prompt") -> Prompt:
        """Parse the files of a prompt folder, wherever they were read. torch is not needed.

        Args:
            files: content by name: `prompt.json`, `adapter_model.safetensors` and, where PEFT has
                such prompts, `adapter_config.json`. Other files are left alone.
            source: the folder or address they were read from, for messages.

        Raises:
            ArtifactError: anything missing, altered, malformed or out of bounds.
        """
        manifest = Manifest.from_files(files, source)
        path = f"{source}/{TENSOR_FILE}"
        content = require(files, TENSOR_FILE, source)
        arrays = parse_tensors(content, path, {name: RANKS[name] for name in manifest.tensors})
        manifest.check_tensors(arrays, path)
        return cls(LazyTensors(arrays), manifest, source)

    def bind(self, backbone: Backbone, *, check_vectors: bool = True) -> BoundPrompt:
        """The prompt on a backbone, ready to be asked: `predict`, `evaluate`, `generate`, `embed`.

        Args:
            backbone: the model that it was made for.
            check_vectors: also run the prompt's test vectors, two short inputs, and compare.

        Raises:
            WrongBackboneError: it was made for another backbone.
            ArtifactError: it does not answer there as it did when it was saved.
        """
        check_backbone(self.manifest.backbone, backbone, self.source or None)
        injection = self.injection()
        if check_vectors:
            where = f"{self.source}/{MANIFEST_FILE}" if self.source else MANIFEST_FILE
            vectors = self.manifest.test_vectors
            check_test_vectors(vectors, injection, backbone, where, self.head())
        return BoundPrompt(self, backbone, injection, self.manifest.prior)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the folder in one step: it is there whole, or as it was before.

        Saving the same prompt again does nothing.

        Raises:
            ArtifactError: the folder holds something else, cannot be written, or the vectors no
                longer are the ones the manifest describes.
        """
        folder = Path(folder).absolute()
        arrays = arrays_of(self.tensors)
        self.manifest.check_tensors(arrays, "the prompt in memory")
        contents = {
            MANIFEST_FILE: self.manifest.to_bytes(),
            TENSOR_FILE: tensor_file(arrays, {"format": "pt"}),
        }
        peft = self.adapter_config()
        if peft is not None:
            contents[PEFT_FILE] = peft
        if not self._is_saved_in(folder):
            publish_folder(folder, contents, overwrite=overwrite)
        return folder

    def with_metrics(
        self, metrics: Mapping[str, Any], ported_from: PortedFrom | None = None
    ) -> Prompt:
        """The same prompt with other metrics, and so with another digest.

        Args:
            ported_from: the prompt that it was ported from; by default what it says now.
        """
        document = {**self.manifest.model_dump(), "metrics": dict(metrics)}
        if ported_from is not None:
            document["ported_from"] = ported_from
        try:
            return Prompt(self.tensors, Manifest.model_validate(document))
        except ValidationError as error:
            raise _cannot_store(error) from error

    def injection(self) -> Injection:
        """What a backbone takes."""
        manifest = self.manifest
        return injection_of(
            self.tensors,
            manifest.injection,
            layers=manifest.backbone.num_layers,
            hidden_size=manifest.backbone.hidden_size,
            key_heads=manifest.key_heads,
            place=manifest.name_place,
            names=[*self.spec.label_names.values()],
        )

    def head(self) -> Head | None:
        """What answers beside the injection; None for a prompt whose model answers itself."""
        return head_in(self.tensors, self.manifest.head_layers)

    def adapter_config(self, peft_type: PeftType | None = None) -> bytes | None:
        """The content of PEFT's `adapter_config.json`; None for what PEFT does not have."""
        entry = self.manifest.backbone
        return adapter_config(
            self.manifest.slot,
            without_head(self.tensors),
            num_layers=entry.num_layers,
            backbone=entry.name,
            task_type=entry.peft_task,
            key_heads=self.manifest.key_heads,
            peft_type=peft_type,
        )

    def seen(self, records: Sequence[Record]) -> SeenRows:
        """Which of these records it was trained or selected on, as far as it knows."""
        return seen_rows(self.manifest.rows, records)

    @property
    def vectors(self) -> Tensor:
        """[P, H] the vectors among the input embeddings: for deep prompts the first layer's.

        P is 0 for a decoder's prompt. Keys and values of a prefix have none: for them the matrix
        that is saved.
        """
        return vectors_of(self.tensors, self.manifest.backbone.hidden_size)

    @property
    def is_plain(self) -> bool:
        """Whether it is vectors among the input and nothing else, its head aside."""
        plain = self.manifest.injection == "input-tokens"
        return plain and set(without_head(self.tensors)) == {TENSOR_NAME}

    @cached_property
    def spec(self) -> TaskSpec:
        """The task it was made for."""
        return TaskSpec.of_prompt(self.manifest.task)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content: what identifies a prompt."""
        return self.manifest.digest

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors: what one more task costs to store and to hold."""
        return sum(array.nbytes for array in arrays_of(self.tensors).values())

    def _repr_html_(self) -> str:
        """A notebook's view: what it is for, and what its manifest says of its scores."""
        manifest, spec = self.manifest, self.spec
        tested = manifest.metrics.get("test")
        numbers = tested.items() if isinstance(tested, Mapping) else ()
        facts = [
            ("method", f"{manifest.method}, {manifest.slot}"),
            ("size", f"{self.nbytes:,} bytes"),
            ("task", spec.kind),
            ("template", spec.template),
            ("labels", first_of(spec.labels, 20)),
            ("backbone", manifest.backbone.name),
            *((f"test {name}", f"{x:.3f}") for name, x in numbers if isinstance(x, float)),
            ("digest", self.digest),
        ]
        return html_view("Prompt", html_facts((name, said) for name, said in facts if said))

    def _is_saved_in(self, folder: Path) -> bool:
        if not (folder / MANIFEST_FILE).is_file():
            return False
        try:
            return Prompt.load(folder).digest == self.digest
        except ArtifactError:  # a damaged prompt is another prompt
            return False


def answer(
    backbone: Backbone, prompt: Prompt, records: RowsLike, **options: Any
) -> list[Prediction]:
    """Answer records under a prompt; `prompt.bind(backbone)` does more and checks once.

    Args:
        options: as for `BoundPrompt.predict`, such as `batch_rows`.

    Raises:
        WrongBackboneError: the prompt was made for another backbone.
        CuecardError: as `BoundPrompt.predict`.
    """
    return prompt.bind(backbone, check_vectors=False).predict(records, **options)


def _check_new(given: Injection, tensors: Mapping[str, Tensor], backbone: Backbone) -> None:
    """The numbers are finite and, as far as can be seen here, of the backbone's sizes."""
    towers = {name: tower for tower, name in TOWER_NAMES.items()}
    towers |= {LABELS_NAME: "labels", VISION_LAYERS_NAME: "vision"}
    for name, tensor in tensors.items():
        fits = tensor.ndim == RANKS[name]
        width = backbone.tower_embeddings[towers.get(name, "text")].shape[-1]
        free = isinstance(given, PrefixKV) or name in SHIFT_NAMES or name in MIX_NAMES
        own_width = free or tensor.shape[-1] == width
        if not fits or not tensor.numel() or not own_width:
            raise ArtifactError(
                "the vectors do not fit the backbone",
                where=backbone.name,
                got=f"shape {tuple(tensor.shape)}",
                expected=f"shape (1 or more, {width})",
            )


def _cannot_store(error: ValidationError) -> ConfigError:
    return ConfigError(
        "this cannot be stored in a prompt",
        got=first_problem(error),
        expected="finite JSON values",
    )
