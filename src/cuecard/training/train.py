"""Train a prompt for a task on a frozen backbone: the three axes meet here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuecard.artifacts import Prompt
from cuecard.artifacts.manifest import ParametersEntry
from cuecard.artifacts.seen_rows import RowsEntry
from cuecard.artifacts.tensors import tensors_of
from cuecard.backbones.quantization.weights import weight_count
from cuecard.errors import FrozenError
from cuecard.evaluation.advice import advice
from cuecard.evaluation.evaluate import Evaluation, evaluate
from cuecard.evaluation.report import plain
from cuecard.folder_lock import held
from cuecard.interrupts import may_cut, stoppable
from cuecard.lazy import torch
from cuecard.methods import PromptTuning
from cuecard.progress_bar import watched
from cuecard.tasks import Task, TaskSpec, draw_rows
from cuecard.training.budget.activation_checkpointing import (
    Choice,
    choose_activations,
    largest_batch,
)
from cuecard.training.budget.input_cache import remember_inputs
from cuecard.training.capabilities import is_late
from cuecard.training.checks import CheckedRun, check_run, plain_answer
from cuecard.training.config import TrainConfig
from cuecard.training.head import head_of
from cuecard.training.job import Job
from cuecard.training.loop import run_loop, stopped_run
from cuecard.training.optim import default_lr
from cuecard.training.setup import encode_rows, new_method
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import Observer, RunLog
from cuecard.training.storage.result import NUMBERS, load_result, result_of, save_result
from cuecard.training.sweeps.learning_rates import sweep_lr
from cuecard.training.trainer import Member, raise_if_diverged
from cuecard.training.validation import Validation, validate
from cuecard.types import Backbone, Encoded, Method, MethodConfig, Record, Slot

if TYPE_CHECKING:
    from torch import Tensor

# The sweep compares rates, which takes fewer rows than choosing a step.
_SWEEP_ROWS = 200
# A prompt this close to always giving one answer has learnt nothing.
_MARGIN = 0.01


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        prompt: the prompt of the best validation step, with its metrics.
        validation: its validation score and loss.
        test: its evaluation on the sealed test rows; None where the task has none.
        lr: the peak learning rate that was used.
        steps, best_step: how far it went, and where the prompt comes from.
        trained: how many numbers were trained.
        cpu_seconds, seconds: of the training, validations included, over all its sittings.
        alarm: what looks wrong, in a sentence; None if nothing does.
        folder: the run's folder; None if nothing was kept.
        tokens: run forward by the training, validations included; those of optimizer steps count
            twice, for the backward pass.
        method: the method's settings.
        start_prior: what the calibration of its untrained start takes off the labels' scores; None
            without calibration.
    """

    prompt: Prompt
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
    tokens: int
    method: MethodConfig
    start_prior: Mapping[str, float] | None


@watched
def train(
    backbone: Backbone,
    task: Task,
    method: MethodConfig | None = None,
    config: TrainConfig | None = None,
    *,
    soft_labels: Sequence[Sequence[float]] | None = None,
    folder: str | Path | None = None,
    observer: Observer | None = None,
    progress: bool = True,
) -> Run:
    """Train on the task's training rows, select on validation, evaluate once on the test rows.

    A folder that holds a checkpoint of the same run is gone on with, to the same last bit.

    Args:
        method: the method's settings; prompt tuning by default.
        config: how to train.
        soft_labels: per training row the probabilities of the labels, in the spec's order, to learn
            instead of its own label; needs the loss "labels".
        folder: where the log, the checkpoint and the prompt go; None keeps nothing.
        observer: called with every event of the log, and with "resume" where a run goes on.
        progress: without an observer, show a bar in a terminal or a notebook.

    Raises:
        DataError: no training or no validation rows.
        TrainingError: it diverged, or the folder belongs to another run.
        ConfigError: this backbone cannot take what the method makes, or cannot be asked the task.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    checked = check_run(backbone, task, method or PromptTuning(), config or TrainConfig())
    return train_checked(checked, soft_labels=soft_labels, folder=folder, observer=observer)


def train_checked(
    checked: CheckedRun,
    *,
    soft_labels: Sequence[Sequence[float]] | None = None,
    folder: str | Path | None = None,
    observer: Observer | None = None,
) -> Run:
    """`train`, of a run that passed `check_run`.

    Raises:
        TrainingError: it diverged, or the folder belongs to another run or another process.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    place = None if folder is None else Path(folder)
    parts = run_parts(checked.backbone, checked.task, checked.method, checked.config, soft_labels)
    with held(place):
        checkpoint = Checkpoint.open(place, key_of(parts), 1, parts)
        (state,) = checkpoint.runs
        log = RunLog(place, observer, keep_bytes=state.log_bytes)
        with stoppable(lambda: stopped_run(checkpoint, checked.config.steps, place)):
            if state.ended is None:
                trained = _train(checked, checkpoint, log, soft_labels, place, observer)
            else:
                trained = checked.start
                trained.load_state_dict(state.best)
            raise_if_diverged(state)
            job = Job(
                checked.backbone,
                checked.task.spec,
                checked.rows,
                checked.config,
                checked.loss,
                looks=checked.looks,
            )
            return finish_run(job, checked.task, checked.method, trained, state, log, place)


def check_checkpoint(checked: CheckedRun, folder: Path) -> None:
    """
    Raises:
        TrainingError: the folder holds the checkpoint of another run.
    """
    parts = run_parts(checked.backbone, checked.task, checked.method, checked.config)
    Checkpoint.load(folder, key_of(parts), parts)


def _train(
    checked: CheckedRun,
    checkpoint: Checkpoint,
    log: RunLog,
    soft_labels: Sequence[Sequence[float]] | None,
    place: Path | None,
    observer: Observer | None,
) -> Method:
    """From the checkpoint's state to the end; the method holds its best step."""
    backbone, task, method, config = (
        checked.backbone,
        checked.task,
        checked.method,
        checked.config,
    )
    spec, rows, trained, (state,) = task.spec, checked.rows, checked.start, checkpoint.runs
    frozen = Unchanged(backbone, rows[0], spec)
    soft = None if soft_labels is None else dict(zip(rows, soft_labels, strict=True))
    job = Job(backbone, spec, rows, config, checked.loss, soft, looks=checked.looks)

    def make() -> Method:
        return new_method(backbone, spec, method, config.seed, config.head_lr)

    def look(at: Method, rows: Sequence[Record] = task.validation) -> Validation:
        return validate(
            backbone,
            spec,
            rows,
            at.injection(),
            method.slot,
            head_of(at),
            calibrated=config.calibrate,
            brief=checked.looks.brief,
        )

    activations = choose_for(job, trained)
    job = replace(job, recompute=activations.how == "recompute")
    kept: dict[str, int | str] = {}
    if is_late(backbone, method, spec):
        again = encode_rows(spec, task.validation, backbone.tokenizer, method.slot)
        with may_cut():
            kept = remember_inputs(
                backbone, [*rows, *again], config.inputs, place, checkpoint.inputs
            )
        checkpoint.inputs = str(kept["place"])
    if state.lr is None:
        log_start(log, job, task, method.name, activations, counts_of(backbone, trained))
        if kept:
            log.write("inputs", **kept)
        if config.lr == "auto":
            few = draw_rows(task.validation, _SWEEP_ROWS, "lr")
            state.lr = sweep_lr(job, make, lambda at: look(at, few), log)
        elif config.lr is None:
            state.lr = default_lr(config, backbone.embeddings)
        else:
            state.lr = config.lr
    elif observer is not None:
        # Not for the log, which is the same whether a run was interrupted or not.
        observer({"event": "resume", "step": state.step, "steps": config.steps})
    member = Member(job, trained, state.lr, lambda: look(trained), state, log)
    run_loop(
        [member],
        checkpoint,
        folder=place,
        every=config.checkpoint_every,
        stopped=lambda: stopped_run(checkpoint, config.steps, place),
    )
    member.raise_if_diverged()
    frozen.check()
    return trained


def run_parts(
    backbone: Backbone,
    task: Task,
    method: MethodConfig,
    config: TrainConfig,
    soft_labels: Sequence[Sequence[float]] | None = None,
) -> dict[str, str]:
    """What two sittings of one run have in common, each as a digest by its name."""
    # What changes neither the prompt nor a bit of its gradients.
    unlike = {"checkpoint_every", "activations"}
    start = [_hash_tensor(tensor) for tensor in method.warm_start]
    parts: dict[str, Any] = {
        "method": {"name": method.name, "start": start, **method.model_dump(mode="json")},
        "training settings": config.model_dump(mode="json", exclude=unlike),
        # How long an answer may be is a setting of the test alone.
        "task": task.spec.model_dump(mode="json", exclude={"max_new_tokens"}),
        "data": task.report.data_hash,
        "backbone": asdict(backbone.fingerprint),
        "precision": str(backbone.dtype),
    }
    if soft_labels is not None:
        parts["soft labels"] = soft_labels
    return {name: _hash(part) for name, part in parts.items()}


def key_of(parts: object) -> str:
    """A run's key: the same for the same parts."""
    return _hash(parts)


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Unchanged:
    """The proof that training leaves the backbone as it was: its bytes and its answers."""

    def __init__(self, backbone: Backbone, probe: Encoded, spec: TaskSpec) -> None:
        self._backbone, self._probe, self._spec = backbone, probe, spec
        self._digest, self._answer = backbone.digest(), self._ask()

    def _ask(self) -> Tensor:
        return plain_answer(self._backbone, self._probe, self._spec)

    def check(self) -> None:
        """
        Raises:
            FrozenError: other bytes, or other answers.
        """
        same_bytes = self._backbone.digest() == self._digest
        if not same_bytes or not torch.equal(self._ask(), self._answer):
            raise FrozenError(
                "the backbone changed during training",
                where=self._backbone.name,
                got="other answers" if same_bytes else "other parameters",
                expected="the same bytes and bit-identical answers",
            )


def choose_for(job: Job, method: Method) -> Choice:
    """What a run does with its activations."""
    lengths = [len(row.context) + len(row.target) for row in job.rows]
    tokens = largest_batch(lengths, method.injection().length, job.config)
    return choose_activations(job.config.activations, job.backbone, tokens)


def counts_of(backbone: Backbone, trained: Method) -> dict[str, int]:
    """How many numbers are trained, and how many there are with the frozen ones."""
    count = sum(parameter.numel() for parameter in trained.parameters())
    return {"trained_parameters": count, "parameters": weight_count(backbone.model) + count}


def log_start(
    log: RunLog,
    job: Job,
    task: Task,
    method: str,
    activations: Choice,
    counts: Mapping[str, int],
    **more: Any,
) -> None:
    """The first events of a run's log."""
    notes = advice(task)
    log.write(
        "start",
        backbone=job.backbone.name,
        device=str(job.backbone.device),
        dtype=str(job.backbone.dtype).removeprefix("torch."),
        method=method,
        steps=job.config.steps,
        rows={name: len(getattr(task, name)) for name in ("train", "validation", "test")},
        truncated=sum(row.cut > 0 for row in job.rows),
        loss=job.loss,
        **counts,
        config=job.config.model_dump(mode="json"),
        **({"notes": list(notes)} if notes else {}),
        **more,
    )
    if job.recompute:
        log.write("activations", **asdict(activations))


def _on_all_labels(
    job: Job, task: Task, trained: Method, slot: Slot, state: State, log: RunLog
) -> Validation:
    """The best step's validation, where those of the run were brief ones (`Looks`)."""
    count = len(task.validation) if job.looks is None else job.looks.rows
    rows = draw_rows(task.validation, count, "best")
    with may_cut():
        seen = validate(
            job.backbone,
            job.spec,
            rows,
            trained.injection(),
            slot,
            head_of(trained),
            calibrated=job.config.calibrate,
            on_rows=log.count("validating", len(rows)),
        )
    log.write(
        "best_validation",
        step=state.best_step,
        validation_loss=seen.loss,
        validation_accuracy=seen.accuracy,
        commonest=seen.commonest,
        labels=len(job.spec.labels),
        rows=len(rows),
    )
    return replace(seen, rows=len(rows))


def finish_run(
    job: Job,
    task: Task,
    method: MethodConfig,
    trained: Method,
    state: State,
    log: RunLog,
    folder: Path | None,
) -> Run:
    """Test a method at its best step on the sealed rows, once, and save its prompt.

    A folder that has both already is not tested again.

    Raises:
        Stop: Ctrl-C during the test.
    """
    injection, head, seed = trained.injection(), head_of(trained), job.config.seed
    found = finished_run(folder, job, task, method, trained)
    if found is not None:
        log.tell("finished", folder=str(folder), digest=found.prompt.digest)
        return found
    best = Validation(loss=state.best_loss, accuracy=state.best_accuracy, prior=state.best_prior)
    if best.accuracy is None and job.spec.task_kind.single_label:
        best = _on_all_labels(job, task, trained, method.slot, state, log)
    prior = best.prior if job.config.calibrate else None
    test = None
    if task.test:
        log.write("test", rows=len(task.test))
        with may_cut():
            test = evaluate(
                job.backbone,
                job.spec,
                task.test,
                injection,
                slot=method.slot,
                prior=prior,
                seed=seed,
                head=head,
                on_rows=log.count("testing", len(task.test)),
            )
    counts = counts_of(job.backbone, trained)
    prompt = Prompt.create(
        injection,
        head=head,
        backbone=job.backbone,
        spec=job.spec,
        method=method.name,
        method_config=method.model_dump(mode="json"),
        slot=method.slot,
        data_hash=task.report.data_hash,
        rows=RowsEntry.of(task.train, task.validation),
        seed=seed,
        parameters=ParametersEntry(
            trained=counts["trained_parameters"], total=counts["parameters"]
        ),
        metrics=metrics_of(task, best, test),
        prior=prior,
    )
    run = Run(
        prompt=prompt,
        validation=best,
        test=test,
        lr=float(state.lr or 0.0),
        steps=state.step,
        best_step=state.best_step,
        trained=counts["trained_parameters"],
        cpu_seconds=state.cpu_seconds,
        seconds=state.wall_seconds,
        alarm=alarm_for(task, best),
        folder=folder,
        tokens=round(state.tokens),
        method=method,
        start_prior=state.start_prior if job.config.calibrate else None,
    )
    if folder is not None:
        prompt.save(folder / "prompt", overwrite=True)
    _log_end(log, run)
    if folder is not None:
        save_result(result_of(run, seed), test, folder)
    return run


def finished_run(
    folder: Path | None, job: Job, task: Task, method: MethodConfig, trained: Method
) -> Run | None:
    """The run as its folder has it; None unless it was finished, with these very numbers."""
    found = load_result(folder, task, job.backbone.tokenizer)
    if found is None:
        return None
    result, prompt, test = found
    ours = tensors_of(trained.injection(), head_of(trained))
    same = ours.keys() == prompt.tensors.keys() and all(
        torch.equal(tensor, prompt.tensors[name]) for name, tensor in ours.items()
    )
    if not same or prompt.manifest.data_hash != task.report.data_hash:
        return None
    return Run(
        prompt=prompt,
        validation=result.best(),
        test=test,
        alarm=alarm_for(task, result.best()),
        folder=folder,
        method=method,
        start_prior=result.start_prior,
        **{name: getattr(result, name) for name in NUMBERS},
    )


def metrics_of(task: Task, best: Validation, test: Evaluation | None) -> dict[str, Any]:
    """What the prompt's folder says of its worth; no clocks, which would change its digest."""
    rows = best.rows or len(task.validation)
    seen = {"rows": rows, "loss": best.loss, "accuracy": best.accuracy}
    if test is None:
        return {"validation": seen}
    found = {"rows": len(task.test), test.primary: test.score, "ci95": plain(test.ci95)}
    return {"validation": seen, "test": found}


def _log_end(log: RunLog, run: Run) -> None:
    log.write(
        "done",
        step=run.steps,
        best_step=run.best_step,
        lr=run.lr,
        digest=run.prompt.digest,
        cpu_seconds=round(run.cpu_seconds, 2),
        seconds=round(run.seconds, 2),
        alarm=run.alarm,
        **({} if run.test is None else {"test": run.test.score}),
    )


def alarm_for(task: Task, best: Validation) -> str | None:
    """A prompt that answers no better than the most common label has not learnt the task."""
    if best.accuracy is None or not task.spec.task_kind.single_label:
        return None
    gold = [record.target for record in task.validation]
    majority = max(gold.count(label) for label in set(gold)) / len(gold)
    if best.accuracy > majority + _MARGIN:
        return None
    return (
        f"validation accuracy {best.accuracy:.3f} is no better than always giving the most common "
        f"label ({majority:.3f}); try --lr auto, another init, or more rows"
    )


def _hash_tensor(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()
