"""Train a LoRA adapter as a prompt is trained: the same rows, loss, loop, selection and log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.artifacts import Prompt, check_backbone
from cuecard.artifacts.files import publish_folder
from cuecard.artifacts.manifest import ParametersEntry
from cuecard.artifacts.seen_rows import RowsEntry
from cuecard.artifacts.tensors import tensors_of
from cuecard.backbones.adapters.adapter import NO_ADAPTER, Adapter
from cuecard.backbones.adapters.peft_folder import adapter_files
from cuecard.errors import ConfigError, Interrupted
from cuecard.evaluation.evaluate import Evaluation, evaluate
from cuecard.evaluation.predict import check_task
from cuecard.folder_lock import held
from cuecard.interrupts import may_cut, stoppable
from cuecard.lazy import torch
from cuecard.methods import PromptTuning
from cuecard.progress_bar import watched
from cuecard.tasks import Task
from cuecard.training.capabilities import check_reads
from cuecard.training.checks import check_embeddings, check_rows, check_splits, check_weights
from cuecard.training.config import TrainConfig
from cuecard.training.head import Headed, head_of
from cuecard.training.job import Job
from cuecard.training.loop import run_loop, stopped_run
from cuecard.training.lora import LORA_LR, Lora, LoraSettings, merged
from cuecard.training.loss import Resolved, resolve_loss
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.storage.result import NUMBERS, load_result, result_of, save_result
from cuecard.training.train import (
    Unchanged,
    alarm_for,
    choose_for,
    counts_of,
    key_of,
    log_start,
    metrics_of,
)
from cuecard.training.trainer import Member, raise_if_diverged
from cuecard.training.validation import Validation, validate
from cuecard.types import Backbone, Encoded, Method, Slot

FOLDER = "adapter"


@dataclass(frozen=True)
class LoraRun:
    """A finished run.

    Attributes:
        adapter: the updates of the best validation step.
        prompt: bound to the backbone with this adapter: the one that stood in front, or one without
            vectors, which holds the task, its head and its calibration. `predict`, `eval` and
            `serve` take it.
        validation: their validation score and loss.
        test: the evaluation of the merged model on the sealed test rows; None where there are none.
        lr: the peak learning rate.
        steps, best_step: how far it went, and where the adapter comes from.
        trained: how many numbers were trained.
        cpu_seconds, seconds: of the training, validations included, over all its sittings.
        tokens: run forward by the training, those of optimizer steps counted twice.
        alarm: what looks wrong, in a sentence; None if nothing does.
        folder: the run's folder, with the adapter in `adapter` and the prompt in `prompt`; None if
            nothing was kept.
    """

    adapter: Adapter
    prompt: Prompt
    validation: Validation
    test: Evaluation | None
    lr: float
    steps: int
    best_step: int
    trained: int
    cpu_seconds: float
    seconds: float
    tokens: int
    alarm: str | None
    folder: Path | None


@watched
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

    The adapter is written in PEFT's format; `load_backbone(..., adapter=...)` and PEFT load it. A
    folder that holds a checkpoint of the same run is gone on with, to the same last bit.

    Args:
        settings: which layers get an update, and of which rank.
        config: how to train; `lr` is 5e-4 by default, and no "auto".
        prompt: stands in front while the adapter is trained, and stays as it is. Its task must be
            the one given.
        folder: where the log, the checkpoint, the adapter and the prompt go; None keeps nothing.
        observer: called with every event of the log, and with "resume" where a run goes on.
        progress: without an observer, show a bar in a terminal or a notebook.

    Raises:
        DataError: no training or no validation rows.
        TrainingError: it diverged, or the folder belongs to another run.
        ConfigError: settings, a prompt or a backbone that cannot be used.
        WrongBackboneError: the prompt was made for another backbone.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    checked = check_lora(
        backbone, task, settings or LoraSettings(), config or TrainConfig(), prompt
    )
    return train_checked_lora(checked, folder=folder, observer=observer)


@dataclass(frozen=True)
class CheckedLora:
    """A run that passed every check.

    Attributes:
        backbone, task, settings, config, prompt: as they were given.
        rows: the training rows as token ids.
        loss: what is minimised.
        lora: the adapter with its first parameters.
        trained: the same, with the task's head where it has one.
    """

    backbone: Backbone
    task: Task
    settings: LoraSettings
    config: TrainConfig
    prompt: Prompt | None
    rows: list[Encoded]
    loss: Resolved
    lora: Lora
    trained: Method

    @property
    def slot(self) -> Slot:
        """Where the prompt in front stands."""
        return "prefix" if self.prompt is None else self.prompt.manifest.slot

    @property
    def parts(self) -> dict[str, str]:
        """What two sittings of the run have in common, as digests by name."""
        config = self.config.model_dump(mode="json", exclude={"checkpoint_every", "activations"})
        found: dict[str, Any] = {
            "adapter": self.settings.model_dump(mode="json"),
            "training settings": config,
            "task": self.task.spec.model_dump(mode="json", exclude={"max_new_tokens"}),
            "data": self.task.report.data_hash,
            "backbone": asdict(self.backbone.fingerprint),
            "precision": str(self.backbone.dtype),
            "prompt": None if self.prompt is None else self.prompt.digest,
        }
        return {name: key_of(part) for name, part in found.items()}

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the checkpoint of another run.
        """
        Checkpoint.load(folder, key_of(self.parts), self.parts)


def check_lora(
    backbone: Backbone,
    task: Task,
    settings: LoraSettings,
    config: TrainConfig,
    prompt: Prompt | None = None,
) -> CheckedLora:
    """Refuse a run that could not reach its end, as `check_run` does. Writes nothing.

    Raises:
        ConfigError, DataError, BackboneError: as `check_run`.
        WrongBackboneError: the prompt was made for another backbone.
    """
    spec = task.spec
    check_splits(task)
    check_task(backbone, spec)
    _check(backbone, task, config, prompt)
    slot: Slot = "prefix" if prompt is None else prompt.manifest.slot
    check_reads(backbone, PromptTuning(slot=slot), spec)
    loss = resolve_loss(config.loss, spec, backbone)
    injection = None if prompt is None else prompt.injection()
    lora = Lora(backbone, settings, injection, config.seed)
    trained: Method = lora
    if spec.mode == "head":
        trained = Headed(lora, spec.outputs, backbone.hidden_size, config.head_lr)
        head = None if prompt is None else prompt.head()
        if head is not None:
            own = {"weight": head.weight, "bias": head.bias}
            trained.load_state_dict({"method": lora.state_dict(), "head": own})
    rows = check_rows(backbone, task, slot, injection)
    check_embeddings(backbone)
    check_weights(backbone, rows[0], spec)
    return CheckedLora(backbone, task, settings, config, prompt, rows, loss, lora, trained)


def train_checked_lora(
    checked: CheckedLora, *, folder: str | Path | None = None, observer: Observer | None = None
) -> LoraRun:
    """`train_lora`, of a run that passed `check_lora`.

    Raises:
        TrainingError: it diverged, or the folder belongs to another run or another process.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    place, parts = None if folder is None else Path(folder), checked.parts
    with held(place):
        checkpoint = Checkpoint.open(place, key_of(parts), 1, parts)
        (state,) = checkpoint.runs
        log = RunLog(place, observer, keep_bytes=state.log_bytes)

        def stopped() -> Interrupted:
            resume = f"go on with: cuecard lora --resume {place}"
            return stopped_run(checkpoint, checked.config.steps, place, resume)

        with stoppable(stopped):
            if state.ended is None:
                _train(checked, checkpoint, log, place, observer, stopped)
            else:
                checked.trained.load_state_dict(state.best)
            raise_if_diverged(state)
            return _finish(checked, state, log, place)


def _train(
    checked: CheckedLora,
    checkpoint: Checkpoint,
    log: RunLog,
    place: Path | None,
    observer: Observer | None,
    stopped: Callable[[], Interrupted],
) -> None:
    """From the checkpoint's state to the end; the adapter and the head hold their best step."""
    backbone, task, config, trained = (
        checked.backbone,
        checked.task,
        checked.config,
        checked.trained,
    )
    (state,) = checkpoint.runs
    backbone.remember(())  # what the model makes of an input changes with every step
    frozen = Unchanged(backbone, checked.rows[0], task.spec)
    job = Job(backbone, task.spec, checked.rows, config, checked.loss)
    activations = choose_for(job, trained)
    job = replace(job, recompute=activations.how == "recompute")
    if state.lr is None:
        log_start(log, job, task, "LoRA", activations, counts_of(backbone, trained))
        state.lr = LORA_LR if config.lr is None else float(config.lr)
    elif observer is not None:
        observer({"event": "resume", "step": state.step, "steps": config.steps})

    def look() -> Validation:
        return validate(
            backbone,
            task.spec,
            task.validation,
            trained.injection(),
            checked.slot,
            head_of(trained),
            calibrated=config.calibrate,
        )

    with checked.lora.attached():
        member = Member(job, trained, state.lr, look, state, log)
        run_loop([member], checkpoint, folder=place, every=config.checkpoint_every, stopped=stopped)
    member.raise_if_diverged()
    frozen.check()


def _finish(checked: CheckedLora, state: State, log: RunLog, folder: Path | None) -> LoraRun:
    """Test the merged model on the sealed rows, once; save adapter and prompt.

    A folder that has all of them already is not tested again.

    Raises:
        Stop: Ctrl-C during the test.
    """
    backbone, task, config = checked.backbone, checked.task, checked.config
    adapter = checked.lora.adapter(
        "the trained adapter" if folder is None else str(folder / FOLDER)
    )
    found = _finished(checked, adapter, folder)
    if found is not None:
        log.tell("finished", folder=str(folder), digest=adapter.digest)
        return found
    best = Validation(loss=state.best_loss, accuracy=state.best_accuracy, prior=state.best_prior)
    prior = state.best_prior if config.calibrate else None
    injection, head = checked.trained.injection(), head_of(checked.trained)
    frozen = Unchanged(backbone, checked.rows[0], task.spec)
    test, counts = None, counts_of(backbone, checked.trained)
    with merged(backbone, adapter):
        if task.test:
            log.write("test", rows=len(task.test))
            with may_cut():
                test = evaluate(
                    backbone,
                    task.spec,
                    task.test,
                    injection,
                    slot=checked.slot,
                    prior=prior,
                    seed=config.seed,
                    head=head,
                    on_rows=log.count("testing", len(task.test)),
                )
        bound = Prompt.create(
            injection,
            head=head,
            backbone=backbone,
            spec=task.spec,
            slot=checked.slot,
            data_hash=task.report.data_hash,
            rows=RowsEntry.of(task.train, task.validation),
            parameters=ParametersEntry(
                trained=counts["trained_parameters"], total=counts["parameters"]
            ),
            metrics=metrics_of(task, best, test),
            prior=prior,
            **_origin(checked),
        )
    frozen.check()
    run = LoraRun(
        adapter=adapter,
        prompt=bound,
        validation=best,
        test=test,
        lr=float(state.lr or 0.0),
        steps=state.step,
        best_step=state.best_step,
        trained=counts["trained_parameters"],
        cpu_seconds=state.cpu_seconds,
        seconds=state.wall_seconds,
        tokens=round(state.tokens),
        alarm=alarm_for(task, best),
        folder=folder,
    )
    if folder is not None:
        publish_folder(folder / FOLDER, _files(checked, adapter), overwrite=True)
        bound.save(folder / "prompt", overwrite=True)
    _log_end(log, run)
    if folder is not None:
        save_result(result_of(run, config.seed), test, folder)
    return run


def _origin(checked: CheckedLora) -> dict[str, Any]:
    """What the prompt's manifest says of where its vectors come from."""
    if checked.prompt is None:
        settings = checked.settings.model_dump(mode="json")
        return {"method": "lora", "method_config": settings, "seed": checked.config.seed}
    before = checked.prompt.manifest
    return {
        "method": before.method,
        "method_config": before.method_config,
        "seed": before.seed,
    }


def _files(checked: CheckedLora, adapter: Adapter) -> dict[str, bytes]:
    """The adapter's folder, as PEFT reads it."""
    return adapter_files(
        adapter,
        rank=checked.settings.rank,
        alpha=checked.settings.alpha,
        rslora=checked.settings.rslora,
        base=checked.backbone.name,
        task_type=checked.backbone.peft_task,
        fan_in_fan_out=checked.lora.transposed,
    )


def _finished(checked: CheckedLora, adapter: Adapter, folder: Path | None) -> LoraRun | None:
    """The run as its folder has it; None unless it was finished, with these very numbers."""
    task = checked.task
    found = load_result(folder, task, checked.backbone.tokenizer)
    if found is None:
        return None
    result, prompt, test = found
    ours = tensors_of(checked.trained.injection(), head_of(checked.trained))
    same = ours.keys() == prompt.tensors.keys() and all(
        torch.equal(tensor, prompt.tensors[name]) for name, tensor in ours.items()
    )
    if not same or prompt.manifest.backbone.fingerprint.adapter != adapter.digest:
        return None
    return LoraRun(
        adapter=adapter,
        prompt=prompt,
        validation=result.best(),
        test=test,
        alarm=alarm_for(task, result.best()),
        folder=folder,
        **{name: getattr(result, name) for name in NUMBERS},
    )


def _check(backbone: Backbone, task: Task, config: TrainConfig, prompt: Prompt | None) -> None:
    found = backbone.fingerprint
    if found.adapter != NO_ADAPTER or found.quantize != "none":
        got = f"the form {found.quantize}" if found.quantize != "none" else "one with an adapter"
        raise ConfigError(
            "an adapter is trained on plain weights, as it is merged into plain weights",
            where=backbone.name,
            got=got,
            expected="the backbone without --quantize and --adapter",
        )
    if config.lr == "auto":
        raise ConfigError(
            "the rates that are tried are those of prompts", where="lr", got="auto", expected=5e-4
        )
    if prompt is None:
        if task.spec.parsed.has_prompt:
            raise ConfigError(
                "the template has a place for a prompt, and there is none",
                where="template",
                got=task.spec.template,
                expected="a template without {prompt}, or a prompt",
            )
        return
    check_backbone(prompt.manifest, backbone)
    if not prompt.spec.is_same(task.spec, backbone.tokenizer):
        given, own = (
            spec.recorded(backbone.tokenizer).model_dump(mode="json")
            for spec in (task.spec, prompt.spec)
        )
        unlike = [name for name in {**given, **own} if given.get(name) != own.get(name)]
        raise ConfigError(
            "the prompt in front was trained for another task",
            where="prompt",
            got=", ".join(f"{name} {given.get(name)!r}" for name in unlike),
            expected=", ".join(f"{name} {own.get(name)!r}" for name in unlike),
        )


def _log_end(log: RunLog, run: LoraRun) -> None:
    log.write(
        "done",
        trained="adapter",
        step=run.steps,
        best_step=run.best_step,
        lr=run.lr,
        digest=run.adapter.digest,
        cpu_seconds=round(run.cpu_seconds, 2),
        seconds=round(run.seconds, 2),
        alarm=run.alarm,
        **({} if run.test is None else {"test": run.test.score}),
    )
