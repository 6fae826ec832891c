"""Train a LoRA adapter as a prompt is trained: the same rows, loss, loop, selection and log."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuecard.artifacts import Prompt, check_backbone
from cuecard.artifacts.files import publish_folder
from cuecard.backbones.adapters.adapter import NO_ADAPTER, Adapter
from cuecard.backbones.adapters.peft_folder import RUN_FOLDER, adapter_files
from cuecard.errors import ConfigError
from cuecard.progress_bar import with_progress_bar
from cuecard.tasks import Task, TaskSpec
from cuecard.training.checks import FrozenProof
from cuecard.training.config import TrainConfig
from cuecard.training.run import FinishedRun, Trained
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.log import Observer
from cuecard.training.train import Before, train_alone
from cuecard.training.trainables.capabilities import check_head
from cuecard.training.trainables.head import Headed, start_head
from cuecard.training.trainables.lora import LORA_LR, Lora, LoraSettings, merged
from cuecard.training.trainables.word_head import check_word_head, word_head
from cuecard.types import Backbone, Method, Slot


@dataclass(frozen=True, kw_only=True)
class LoraRun(FinishedRun):
    """A finished run of an adapter.

    Its prompt is bound to the backbone with this adapter: the given one, or one without vectors,
    which holds the task, its head and its calibration. `predict`, `eval` and `serve` take it. Its
    test is that of the merged model. Its folder has the adapter in `adapter`.

    Attributes:
        adapter: the updates of the best validation step.
    """

    adapter: Adapter


@dataclass(frozen=True)
class TrainableAdapter:
    """A LoRA adapter.

    Attributes:
        settings: which layers get an update, and of which rank.
        prompt: added to every input, and not trained; None for none.
    """

    settings: LoraSettings
    prompt: Prompt | None = None
    name = "LoRA"
    changes_layers = True
    reads_names = False

    @property
    def slot(self) -> Slot:
        """The prompt's."""
        return "prefix" if self.prompt is None else self.prompt.manifest.slot

    @property
    def parts(self) -> Mapping[str, Any]:
        """The settings and the prompt."""
        digest = None if self.prompt is None else self.prompt.digest
        return {"adapter": self.settings.model_dump(mode="json"), "prompt": digest}

    def check(self, backbone: Backbone, task: Task, config: TrainConfig) -> None:
        """
        Raises:
            ConfigError: weights that are quantised or adapted, `lr="auto"`, a prompt of another
                task, or masks to find.
            WrongBackboneError: a prompt made for another backbone.
        """
        check_head(backbone, task.spec, None)
        if config.head_start == "words":
            check_word_head(backbone, task.spec)
        if task.spec.mode == "pixels":  # what its encoder makes of images is computed once
            raise ConfigError(
                "a segmentation model takes no adapter",
                where=backbone.name,
                got=f"the kind {task.spec.kind}",
                expected="a prompt: cuecard train",
            )
        found = backbone.fingerprint
        if found.adapter != NO_ADAPTER or found.quantize != "none":
            got = (
                f"the form {found.quantize}" if found.quantize != "none" else "one with an adapter"
            )
            raise ConfigError(
                "an adapter is trained on plain weights, as it is merged into plain weights",
                where=backbone.name,
                got=got,
                expected="the backbone without --quantize and --adapter",
            )
        if config.lr == "auto":
            raise ConfigError(
                "LoRA training tries no learning rates", where="lr", got="auto", expected=LORA_LR
            )
        if self.prompt is not None:
            _check_prompt(backbone, task.spec, self.prompt)
        elif task.spec.parsed.has_prompt:
            raise ConfigError(
                "the template has a place for a prompt, and no prompt is given",
                where="template",
                got=task.spec.template,
                expected="a template without {prompt}, or a prompt",
            )

    def build(self, backbone: Backbone, task: Task, config: TrainConfig) -> Method:
        """An update that changes nothing yet, and the prompt's head if it has one."""
        injection = None if self.prompt is None else self.prompt.injection()
        lora = Lora(backbone, self.settings, injection, config.seed)
        if task.spec.mode != "head":
            return lora
        trained = Headed(lora, task.spec.outputs, backbone.hidden_size, config.head_peak)
        head = None if self.prompt is None else self.prompt.head()
        if head is not None:
            start_head(trained, head)
        elif config.head_start == "words":
            start_head(trained, word_head(backbone, task.spec, task.train))
        return trained

    def default_lr(self, backbone: Backbone, config: TrainConfig) -> float:
        """5e-4."""
        return LORA_LR

    def leaves_inputs(self, backbone: Backbone, spec: TaskSpec) -> bool:
        """No: every layer changes."""
        return False

    def attached(self, method: Method) -> AbstractContextManager[None]:
        """The updates, added to the layers."""
        return lora_of(method).attached()

    @property
    def origin(self) -> dict[str, Any]:
        """What the prompt's manifest says of where its vectors come from; no seed for the run's."""
        if self.prompt is None:
            return {"method": "lora", "method_config": self.settings.model_dump(mode="json")}
        before = self.prompt.manifest
        names = ("method", "method_config", "seed")
        return {name: getattr(before, name) for name in names}


@with_progress_bar
def train_lora(
    backbone: Backbone,
    task: Task,
    settings: LoraSettings | None = None,
    config: TrainConfig | None = None,
    *,
    prompt: Prompt | None = None,
    folder: str | Path | None = None,
    observer: Observer | None = None,
    progress: bool = True,
) -> LoraRun:
    """Train on the task's training rows, select on validation, evaluate once on the test rows.

    The adapter is written in PEFT's format; `load_backbone(..., adapter=...)` and PEFT load it.
    Resumes from a checkpoint of the same run in the folder; the result is bit-identical.

    Args:
        settings: which layers get an update, and of which rank.
        config: how to train; `lr` is 5e-4 by default, and no "auto".
        prompt: added to every input while the adapter is trained, and left as it is. Its task must
            be the one given.
        folder: where the log, the checkpoint, the adapter and the prompt go; None keeps nothing.
        observer: called with every event of the log, and with "resume" where a run is resumed.
        progress: without an observer, show a bar in a terminal or a notebook.

    Raises:
        DataError: no training or no validation rows.
        TrainingError: it diverged, or the folder belongs to another run.
        ConfigError: settings, a prompt or a backbone that cannot be used.
        WrongBackboneError: the prompt was made for another backbone.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    adapter = TrainableAdapter(settings or LoraSettings(), prompt)
    setup = lora_setup(backbone, task, adapter, config or TrainConfig())
    return train_adapter(setup, adapter, folder=folder, observer=observer)


def lora_setup(
    backbone: Backbone, task: Task, adapter: TrainableAdapter, config: TrainConfig
) -> TrainSetup:
    """The set-up of a LoRA run, which validates as often as its settings say.

    Raises:
        ConfigError, DataError, BackboneError: as `TrainSetup.of`.
        WrongBackboneError: the prompt was made for another backbone.
    """
    return TrainSetup.of(backbone, task, adapter, config, fixed_validations=True)


def train_adapter(
    setup: TrainSetup,
    adapter: TrainableAdapter,
    *,
    folder: str | Path | None = None,
    observer: Observer | None = None,
    command: str = "cuecard lora",
    before: Before | None = None,
) -> LoraRun:
    """`train_lora`, from its set-up.

    Args:
        command: what resumes the run, without its folder.
        before: what it goes on from; None for its own start.

    Raises:
        TrainingError: it diverged, or the folder belongs to another run or another process.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    return train_alone(
        setup, lambda trained: _finish(trained, adapter), command, folder, observer, before
    )


def lora_of(method: Method) -> Lora:
    """The adapter in training, without a head."""
    lora = method.inner if isinstance(method, Headed) else method
    assert isinstance(lora, Lora)
    return lora


def _finish(trained: Trained, trainable: TrainableAdapter) -> LoraRun:
    """Test the merged model on the sealed rows, once; save adapter and prompt.

    A folder that has all of them already is not tested again.

    Raises:
        Stop: Ctrl-C during the test.
    """
    setup, folder, lora = trained.setup, trained.folder, lora_of(trained.method)
    where = "the trained adapter" if folder is None else str(folder / RUN_FOLDER)
    adapter = lora.adapter(where)
    found = trained.found()
    if found is not None:
        _, fields = found
        if fields["prompt"].manifest.backbone.fingerprint.adapter == adapter.digest:
            trained.log.tell("finished", folder=str(folder), digest=adapter.digest)
            return LoraRun(**fields, adapter=adapter)
    best, frozen = trained.best(), FrozenProof(setup.backbone, setup.rows[0], setup.spec)
    origin = {"seed": setup.config.seed, **trainable.origin}
    with merged(setup.backbone, adapter):
        prompt, test, _ = trained.tested(best, **origin)
    frozen.check()
    run = LoraRun(**trained.outcome(prompt, best, test), adapter=adapter)
    if folder is not None:
        files = adapter_files(
            adapter,
            rank=trainable.settings.rank,
            alpha=trainable.settings.alpha,
            rslora=trainable.settings.rslora,
            base=setup.backbone.name,
            task_type=setup.backbone.peft_task,
            fan_in_fan_out=lora.transposed,
        )
        publish_folder(folder / RUN_FOLDER, files, overwrite=True)
    trained.keep(run, adapter.digest, trained="adapter")
    return run


def _check_prompt(backbone: Backbone, spec: TaskSpec, prompt: Prompt) -> None:
    check_backbone(prompt.manifest.backbone, backbone)
    if prompt.manifest.head == "labels":
        raise ConfigError(
            "an adapter is not trained beside a prompt around labels' names",
            where="prompt",
            got=f"method {prompt.manifest.method}",
            expected="a prompt whose head reads an image's states, or none",
        )
    if prompt.spec.is_same(spec, backbone.tokenizer):
        return
    given, own = (
        one.recorded(backbone.tokenizer).model_dump(mode="json") for one in (spec, prompt.spec)
    )
    unlike = [name for name in {**given, **own} if given.get(name) != own.get(name)]
    raise ConfigError(
        "the prompt was trained for another task",
        where="prompt",
        got=", ".join(f"{name} {given.get(name)!r}" for name in unlike),
        expected=", ".join(f"{name} {own.get(name)!r}" for name in unlike),
    )
