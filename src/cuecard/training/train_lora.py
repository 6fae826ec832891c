"""Train a LoRA adapter as a prompt is trained: the same rows, loss, loop, selection and log."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cuecard.artifacts import Prompt, check_backbone
from cuecard.artifacts.files import publish_folder
from cuecard.artifacts.rows import RowsEntry
from cuecard.backbones.adapter import NO_ADAPTER, Adapter
from cuecard.backbones.adapter_files import adapter_files
from cuecard.errors import ConfigError, DataError
from cuecard.evaluation.evaluate import Evaluation, evaluate
from cuecard.evaluation.predict import check_task
from cuecard.tasks import Task
from cuecard.training.checkpoint import Checkpoint, State
from cuecard.training.config import TrainConfig
from cuecard.training.job import Job
from cuecard.training.log import Observer, RunLog
from cuecard.training.loop import run_loop, stopped_run
from cuecard.training.lora import LORA_LR, Lora, LoraSettings, merged
from cuecard.training.loss import resolve_loss
from cuecard.training.member import Member
from cuecard.training.train import (
    Unchanged,
    alarm_for,
    choose_for,
    counts_of,
    log_start,
    metrics_of,
)
from cuecard.training.validation import Validation, validate
from cuecard.types import Backbone, Slot

FOLDER = "adapter"


@dataclass(frozen=True)
class LoraRun:
    """A finished run.

    Attributes:
        adapter: the updates of the best validation step.
        prompt: the prompt that stood in front, now bound to the backbone with this adapter; None
            without one.
        validation: their validation score and loss.
        test: the evaluation of the merged model on the sealed test rows; None where there are none.
        lr: the peak learning rate.
        steps, best_step: how far it went, and where the adapter comes from.
        trained: how many numbers were trained.
        cpu_seconds, seconds: of the training, validations included, over all its sittings.
        alarm: what looks wrong, in a sentence; None if nothing does.
        folder: the run's folder, with the adapter in `adapter` and the prompt in `prompt`; None if
            nothing was kept.
    """

    adapter: Adapter
    prompt: Prompt | None
    validation: Validation
    test: Evaluation | None
    lr: float
    steps: int
    best_step: int
    trained: int
    cpu_seconds: float
    seconds: float
    alarm: str | None
    folder: Path | None


def train_lora(
    backbone: Backbone,
    task: Task,
    settings: LoraSettings | None = None,
    config: TrainConfig | None = None,
    *,
    prompt: Prompt | None = None,
    folder: str | Path | None = None,
    observer: Observer | None = None,
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

    Raises:
        DataError: no training or no validation rows.
        TrainingError: it diverged, or the folder belongs to another run.
        ConfigError: settings, a prompt or a backbone that cannot be used.
        WrongBackboneError: the prompt was made for another backbone.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    settings, config = settings or LoraSettings(), config or TrainConfig()
    slot: Slot = "prefix" if prompt is None else prompt.manifest.slot
    _check(backbone, task, config, prompt)
    loss = resolve_loss(config.loss, task.spec, backbone)
    injection = None if prompt is None else prompt.injection()
    lora = Lora(backbone, settings, injection, config.seed)
    place = None if folder is None else Path(folder)
    checkpoint = Checkpoint.open(place, _key(backbone, task, settings, config, prompt), 1)
    (state,) = checkpoint.runs
    log = RunLog(place, observer, keep_bytes=state.log_bytes)
    spec = task.spec
    rows = [spec.encode(record, backbone.tokenizer, slot) for record in task.train]
    backbone.remember(())  # what the model makes of an input changes with every step
    frozen = Unchanged(backbone, rows[0], spec)
    job = Job(backbone, spec, rows, config, loss)
    activations = choose_for(job, lora)
    job = replace(job, recompute=activations.how == "recompute")
    if state.lr is None:
        log_start(log, job, task, "LoRA", activations, counts_of(backbone, lora))
        state.lr = LORA_LR if config.lr is None else float(config.lr)
    elif observer is not None:
        observer({"event": "resume", "step": state.step, "steps": config.steps})

    def look() -> Validation:
        calibrated = config.calibrate and prompt is not None
        return validate(
            backbone, spec, task.validation, lora.injection(), slot, calibrated=calibrated
        )

    with lora.attached():
        member = Member(job, lora, state.lr, look, state, log)
        run_loop(
            [member],
            checkpoint,
            folder=place,
            every=config.checkpoint_every,
            stopped=lambda: stopped_run(
                checkpoint, config.steps, place, "the same call goes on from it"
            ),
        )
    member.raise_if_diverged()
    frozen.check()
    run = _finish(job, task, lora, settings, prompt, state, log, place)
    frozen.check()
    return run


def _finish(
    job: Job,
    task: Task,
    lora: Lora,
    settings: LoraSettings,
    prompt: Prompt | None,
    state: State,
    log: RunLog,
    folder: Path | None,
) -> LoraRun:
    """Test the merged model on the sealed rows, once; save adapter and prompt."""
    best = Validation(loss=state.best_loss, accuracy=state.best_accuracy)
    adapter = lora.adapter("the trained adapter" if folder is None else str(folder / FOLDER))
    # Without a prompt there is no place to keep a prior in.
    kept = job.config.calibrate and prompt is not None
    prior = state.best_prior if kept else None
    slot: Slot = "prefix" if prompt is None else prompt.manifest.slot
    test, bound = None, None
    with merged(job.backbone, adapter):
        if task.test:
            log.write("test", rows=len(task.test))
            test = evaluate(
                job.backbone,
                job.spec,
                task.test,
                lora.injection(),
                slot=slot,
                prior=prior,
                seed=job.config.seed,
            )
        if prompt is not None:
            bound = Prompt.create(
                prompt.injection(),
                backbone=job.backbone,
                spec=job.spec,
                method=prompt.manifest.method,
                method_config=prompt.manifest.method_config,
                slot=slot,
                data_hash=task.report.data_hash,
                rows=RowsEntry.of(task.train, task.validation),
                seed=prompt.manifest.seed,
                metrics=metrics_of(task, best, test),
                prior=prior,
            )
    if folder is not None:
        files = adapter_files(
            adapter,
            rank=settings.rank,
            alpha=settings.alpha,
            rslora=settings.rslora,
            base=job.backbone.name,
            task_type=job.backbone.peft_task,
            fan_in_fan_out=lora.transposed,
        )
        publish_folder(folder / FOLDER, files, overwrite=True)
        if bound is not None:
            bound.save(folder / "prompt", overwrite=True)
    run = LoraRun(
        adapter=adapter,
        prompt=bound,
        validation=best,
        test=test,
        lr=float(state.lr or 0.0),
        steps=state.step,
        best_step=state.best_step,
        trained=sum(parameter.numel() for parameter in lora.parameters()),
        cpu_seconds=state.cpu_seconds,
        seconds=state.wall_seconds,
        alarm=alarm_for(task, best),
        folder=folder,
    )
    _log_end(log, run)
    return run


def _check(backbone: Backbone, task: Task, config: TrainConfig, prompt: Prompt | None) -> None:
    check_task(backbone, task.spec)
    for name in ("train", "validation"):
        if not getattr(task, name):
            raise DataError(f"the task has no {name} rows", got=0, expected="at least one")
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


def _key(
    backbone: Backbone,
    task: Task,
    settings: LoraSettings,
    config: TrainConfig,
    prompt: Prompt | None,
) -> str:
    parts = {
        "lora": settings.model_dump(mode="json"),
        "config": config.model_dump(mode="json", exclude={"checkpoint_every", "activations"}),
        "task": task.spec.model_dump(mode="json"),
        "data": task.report.data_hash,
        "backbone": asdict(backbone.fingerprint),
        "precision": str(backbone.dtype),
        "prompt": None if prompt is None else prompt.digest,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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
