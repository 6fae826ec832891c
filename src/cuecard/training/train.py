"""Train a prompt for a task on a frozen backbone: the three axes meet here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuecard.artifacts import Prompt
from cuecard.errors import DataError, FrozenError
from cuecard.evaluation.evaluate import Evaluation, evaluate
from cuecard.evaluation.predict import check_task
from cuecard.evaluation.report import plain
from cuecard.lazy import torch
from cuecard.methods import PromptTuning
from cuecard.tasks import Task, TaskSpec, collate, draw_rows
from cuecard.tasks.embedding import embed_rows
from cuecard.training.activations import Choice, choose_activations, largest_batch
from cuecard.training.capabilities import check_needs, check_reads, check_slot, is_late
from cuecard.training.checkpoint import Checkpoint, State
from cuecard.training.config import TrainConfig
from cuecard.training.head import Headed, head_of
from cuecard.training.inputs import remember_inputs
from cuecard.training.job import Job
from cuecard.training.log import Observer, RunLog
from cuecard.training.loop import run_loop, stopped_run
from cuecard.training.loss import resolve_loss
from cuecard.training.lr_sweep import sweep_lr
from cuecard.training.member import Member
from cuecard.training.optim import default_lr
from cuecard.training.validation import Validation, validate
from cuecard.types import (
    Backbone,
    Encoded,
    HasDecoder,
    InitContext,
    Method,
    MethodConfig,
    Record,
    Slot,
    Tokenizer,
)

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
        cpu_seconds, seconds: of the training, validations included, over all its sittings.
        alarm: what looks wrong, in a sentence; None if nothing does.
        folder: the run's folder; None if nothing was kept.
        tokens: run forward by the training, validations included; those of optimizer steps count
            twice, for the backward pass.
        method: the method's settings.
    """

    prompt: Prompt
    validation: Validation
    test: Evaluation | None
    lr: float
    steps: int
    best_step: int
    cpu_seconds: float
    seconds: float
    alarm: str | None
    folder: Path | None
    tokens: int
    method: MethodConfig


def train(
    backbone: Backbone,
    task: Task,
    method: MethodConfig | None = None,
    config: TrainConfig | None = None,
    *,
    soft_labels: Sequence[Sequence[float]] | None = None,
    folder: str | Path | None = None,
    observer: Observer | None = None,
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

    Raises:
        DataError: no training or no validation rows.
        TrainingError: it diverged, or the folder belongs to another run.
        ConfigError: this backbone cannot take what the method makes, or cannot be asked the task.
        FrozenError: the backbone changed.
        Interrupted: Ctrl-C; the checkpoint is saved.
    """
    method, config = method or PromptTuning(), config or TrainConfig()
    check_needs(backbone, method)
    check_slot(method, task.spec)
    check_task(backbone, task.spec)
    check_reads(backbone, method, task.spec)
    for name in ("train", "validation"):
        if not getattr(task, name):
            raise DataError(f"the task has no {name} rows", got=0, expected="at least one")
    place = None if folder is None else Path(folder)
    checkpoint = Checkpoint.open(place, run_key(backbone, task, method, config, soft_labels), 1)
    (state,) = checkpoint.runs
    log = RunLog(place, observer, keep_bytes=state.log_bytes)
    spec = task.spec
    rows = encode_rows(spec, task.train, backbone.tokenizer, method.slot)
    frozen = Unchanged(backbone, rows[0], spec)
    soft = None if soft_labels is None else dict(zip(rows, soft_labels, strict=True))
    job = Job(backbone, spec, rows, config, resolve_loss(config.loss, spec, backbone), soft)

    def make() -> Method:
        return new_method(backbone, spec, method, config.seed, config.head_lr)

    def look(at: Method, rows: Sequence[Record] = task.validation) -> Validation:
        return validate(backbone, spec, rows, at.injection(), method.slot, head_of(at))

    trained = make()
    activations = choose_for(job, trained)
    job = replace(job, recompute=activations.how == "recompute")
    kept: dict[str, int | str] = {}
    if is_late(backbone, method, spec):
        again = encode_rows(spec, task.validation, backbone.tokenizer, method.slot)
        kept = remember_inputs(backbone, [*rows, *again], config.inputs, place, checkpoint.inputs)
        checkpoint.inputs = str(kept["place"])
    if state.lr is None:
        log_start(log, job, task, method.name, activations)
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
    return finish_run(job, task, method, trained, state, log, place)


def run_key(
    backbone: Backbone,
    task: Task,
    method: MethodConfig,
    config: TrainConfig,
    soft_labels: Sequence[Sequence[float]] | None = None,
) -> str:
    """What two sittings of one run have in common: settings, data, backbone, precision."""
    # What changes neither the prompt nor a bit of its gradients.
    unlike = {"checkpoint_every", "activations"}
    start = [_hash_tensor(tensor) for tensor in method.starts]
    parts: dict[str, Any] = {
        "method": {"name": method.name, "start": start, **method.model_dump(mode="json")},
        "config": config.model_dump(mode="json", exclude=unlike),
        "task": task.spec.model_dump(mode="json"),
        "data": task.report.data_hash,
        "backbone": asdict(backbone.fingerprint),
        "precision": str(backbone.dtype),
    }
    if soft_labels is not None:
        parts["soft_labels"] = soft_labels
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def encode_rows(
    spec: TaskSpec, records: Sequence[Record], tokenizer: Tokenizer, slot: Slot
) -> list[Encoded]:
    """Every record's rows."""
    return [row for record in records for row in spec.encode_all(record, tokenizer, slot)]


def new_method(
    backbone: Backbone,
    spec: TaskSpec,
    method: MethodConfig,
    seed: int,
    head_lr: float = TrainConfig().head_lr,
) -> Method:
    """A method's first parameters for a task on a backbone: the same for the same seed.

    Args:
        head_lr: the peak learning rate of the task's head, if it has one.

    Raises:
        ConfigError: an init that this backbone or task cannot give.
    """
    made = method.build(init_context(backbone, spec, seed))
    return Headed(made, spec.outputs, backbone.hidden_size, head_lr) if spec.headed else made


def init_context(backbone: Backbone, spec: TaskSpec, seed: int) -> InitContext:
    """What a method may know of a task and a backbone when it makes its first parameters."""
    tokenizer = backbone.tokenizer
    classification = spec.kind == "classification" and not spec.headed

    def encode(text: str) -> list[int]:
        return [int(i) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]

    return InitContext(
        embeddings=backbone.embeddings,
        encode=encode,
        special_ids=frozenset(int(i) for i in getattr(tokenizer, "all_special_ids", ())),
        labels=spec.continuations(tokenizer) if classification else (),
        text=_about(spec),
        generator=torch.Generator().manual_seed(seed),
        states=backbone.states,
        decoder_embeddings=backbone.decoder_embeddings
        if isinstance(backbone, HasDecoder)
        else None,
    )


def _about(spec: TaskSpec) -> str:
    fields = " and ".join(name.replace("_", " ") for name in spec.field_names)
    if spec.kind == "embedding":
        return f"Represent the {fields} to find the {spec.target_field.replace('_', ' ')}.\n\n"
    if not spec.labels:
        verb = "choose" if spec.kind == "multiple-choice" else "write"
        return f"Read the {fields} and {verb} the {spec.target_field.replace('_', ' ')}.\n\n"
    words = [spec.words.get(label, label) for label in spec.labels]
    listed = f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    return f"Classify the {fields} as {listed}.\n\n"


class Unchanged:
    """The proof that training leaves the backbone as it was: its bytes and its answers."""

    def __init__(self, backbone: Backbone, probe: Encoded, spec: TaskSpec) -> None:
        self._backbone, self._probe, self._need = backbone, probe, spec.need
        self._digest, self._answer = backbone.digest(), self._ask()

    def _ask(self) -> Tensor:
        with torch.no_grad():
            if self._need == "states" or self._backbone.lacks("next-tokens") is not None:
                return embed_rows(self._backbone, [self._probe], None)
            return self._backbone.forward(collate([(self._probe, ())], read="next"), None)

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


def log_start(
    log: RunLog,
    job: Job,
    task: Task,
    method: str,
    activations: Choice,
    **more: Any,
) -> None:
    """The first events of a run's log."""
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
        config=job.config.model_dump(mode="json"),
        **more,
    )
    if job.recompute:
        log.write("activations", **asdict(activations))


def finish_run(
    job: Job,
    task: Task,
    method: MethodConfig,
    trained: Method,
    state: State,
    log: RunLog,
    folder: Path | None,
) -> Run:
    """Test a method at its best step on the sealed rows, once, and save its prompt."""
    best = Validation(loss=state.best_loss, accuracy=state.best_accuracy)
    injection, head, seed = trained.injection(), head_of(trained), job.config.seed
    prior = state.best_prior if job.config.calibrate else None
    test = None
    if task.test:
        log.write("test", rows=len(task.test))
        test = evaluate(
            job.backbone,
            job.spec,
            task.test,
            injection,
            slot=method.slot,
            prior=prior,
            seed=seed,
            head=head,
        )
    prompt = Prompt.create(
        injection,
        head=head,
        backbone=job.backbone,
        spec=job.spec,
        method=method.name,
        method_config=method.model_dump(mode="json"),
        slot=method.slot,
        data_hash=task.report.data_hash,
        seed=seed,
        metrics=metrics_of(task, best, test),
        prior=prior,
    )
    if folder is not None:
        prompt.save(folder / "prompt", overwrite=True)
    run = Run(
        prompt=prompt,
        validation=best,
        test=test,
        lr=float(state.lr or 0.0),
        steps=state.step,
        best_step=state.best_step,
        cpu_seconds=state.cpu_seconds,
        seconds=state.wall_seconds,
        alarm=alarm_for(task, best),
        folder=folder,
        tokens=round(state.tokens),
        method=method,
    )
    _log_end(log, run)
    return run


def metrics_of(task: Task, best: Validation, test: Evaluation | None) -> dict[str, Any]:
    """What the prompt's folder says of its worth; no clocks, which would change its digest."""
    seen = {"rows": len(task.validation), "loss": best.loss, "accuracy": best.accuracy}
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
    if best.accuracy is None or task.spec.kind != "classification":
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
