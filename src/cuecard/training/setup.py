"""The set-up of a training run, one for every way to train: checks, rows, loss, memory and key.

`train`, `sweep`, `multitask`, `train_lora` and the dry run start from a `TrainSetup`. Whatever a
run would refuse later is refused when it is made: before the first step and before anything is
written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.errors import ConfigError
from cuecard.evaluation.loglikelihood import OnRows
from cuecard.evaluation.predict import check_task
from cuecard.interrupts import may_cut
from cuecard.lazy import require_extra
from cuecard.tasks import Task, TaskSpec
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.budget.activation_checkpointing import (
    ActivationPlan,
    largest_batch,
    plan_activations,
)
from cuecard.training.budget.input_cache import cache_inputs
from cuecard.training.budget.validation_plan import ValidationPlan, plan_validations
from cuecard.training.checks import (
    check_embeddings,
    check_rate,
    check_rows,
    check_splits,
    check_start,
    check_weights,
)
from cuecard.training.config import TrainConfig, check_no_budget
from cuecard.training.objective.augmentation import check_augmentation
from cuecard.training.objective.fluency import check_fluency
from cuecard.training.objective.loss import Resolved, SoftLabels, resolve_loss
from cuecard.training.objective.top_tokens import Taught
from cuecard.training.objective.validation import Validation, validate
from cuecard.training.parallel.ranks import ALONE, Ranks
from cuecard.training.storage.checkpoint import Checkpoint
from cuecard.training.trainables.capabilities import check_reads
from cuecard.training.trainables.head import head_of
from cuecard.training.trainables.trainable import Trainable
from cuecard.types import Backbone, Encoded, Head, Injection, Method, Record, Slot

# Training settings that change neither the prompt nor a bit of its gradients.
_FREE = {"checkpoint_every", "activations"}
# Left out, so that runs on models without such a tower are those of before it was known.
_NO_LABELS = ("labels", "none")


@dataclass(frozen=True)
class TrainSetup:
    """Everything that a training run starts from; it has passed every check.

    Attributes:
        backbone, task, trainable, config: as they were given.
        rows: the training rows as token ids.
        loss: what is minimised.
        start: the method with its first parameters.
        validations: how often it validates, and on what.
        activations: whether they are kept for the backward pass.
        soft: label probabilities to learn instead of the rows' own labels; None for none.
        soft_hash: a digest of them, or of whose tokens are learnt.
        temperature: at which they are learnt.
        soft_validation: label probabilities of the validation rows, to select by; None for their
            own labels.
        taught: a teacher's likeliest tokens to learn instead of the rows' targets, for training and
            validation rows; None for none.
        ranks: the processes that share each batch's rows.
        unrun: training rows that a budget leaves no time to run; a pooled head counts their words.
    """

    backbone: Backbone
    task: Task
    trainable: Trainable
    config: TrainConfig
    rows: Sequence[Encoded]
    loss: Resolved
    start: Method
    validations: ValidationPlan
    activations: ActivationPlan
    soft: SoftLabels | None = None
    soft_hash: str | None = None
    temperature: float = 1.0
    unrun: tuple[Record, ...] = ()
    taught: Taught | None = None
    soft_validation: Sequence[Sequence[float]] | None = None
    ranks: Ranks = ALONE

    @classmethod
    def of(
        cls,
        backbone: Backbone,
        task: Task,
        trainable: Trainable,
        config: TrainConfig,
        *,
        name: str | None = None,
        rows: Sequence[Encoded] | None = None,
        fixed_validations: bool = False,
    ) -> TrainSetup:
        """Check a run, and make ready what it starts from.

        Runs the backbone once, on one row, and where the init is of patches on a few images.
        Writes nothing.

        Args:
            name: what errors call the task, among several.
            rows: the training rows as token ids, where every row was checked before with a prompt
                that is at least as long.
            fixed_validations: validate as often as the settings say, whatever it costs.

        Raises:
            ConfigError: settings that contradict each other, the task or the backbone, or that
                leave no room for the longest row, its prompt and its answer.
            DataError: no training or no validation rows, or a row that cannot be read.
            BackboneError: weights that are not numbers, or token ids without an embedding.
        """
        check_no_budget(config)
        loss, start = check_start_of(backbone, task, trainable, config, name)
        injection = start.injection()
        if rows is None:
            rows = check_rows(backbone, task, trainable.slot, injection)
            check_weights(backbone, rows[0], task.spec)
        plan = plan_validations(
            backbone,
            task,
            rows,
            config,
            injection.length,
            trainable.slot,
            fixed=fixed_validations,
        )
        tokens = largest_batch(row_lengths(rows), injection.length, config)
        activations = plan_activations(config.activations, backbone, tokens)
        return cls(backbone, task, trainable, config, rows, loss, start, plan, activations)

    @property
    def spec(self) -> TaskSpec:
        """The task's."""
        return self.task.spec

    @property
    def slot(self) -> Slot:
        """Where the prompt is."""
        return self.trainable.slot

    @property
    def parts(self) -> dict[str, str]:
        """What a resumed run must have in common with the one it resumes, as digests by name."""
        parts = run_parts(self.backbone, self.task, self.trainable, self.config)
        return parts if self.soft_hash is None else {**parts, "soft labels": self.soft_hash}

    def fits(self, folder: Path) -> None:
        """
        Raises:
            TrainingError: the folder holds the checkpoint of another run.
        """
        Checkpoint.load(folder, key_of(self.parts), self.parts)

    def with_soft_labels(
        self,
        probabilities: Sequence[Sequence[float]],
        temperature: float = 1.0,
        *,
        validation: Sequence[Sequence[float]] | None = None,
    ) -> TrainSetup:
        """The same run, but learning these label probabilities, of each training row in order.

        Args:
            temperature: what the scores are divided by before they are compared with those.
            validation: those of the validation rows, to select by; their own labels by default.

        Raises:
            ConfigError: the run's loss does not take them, or there is not one list for each row.
        """
        if self.loss != "labels":
            raise ConfigError(
                "soft labels need the loss over labels",
                where="training.loss",
                got=self.loss,
                expected="labels",
            )
        if len(probabilities) != len(self.rows):
            raise ConfigError(
                "there is not one list of soft labels for each training row",
                where="soft_labels",
                got=len(probabilities),
                expected=len(self.rows),
            )
        soft = dict(zip(self.rows, probabilities, strict=True))
        known: list[Any] = [*probabilities] if temperature == 1 else [temperature, probabilities]
        if validation is not None:
            known = [known, validation]
        changed = replace(self, soft=soft, soft_hash=key_of(known), temperature=temperature)
        return replace(changed, soft_validation=validation)

    def with_taught(self, taught: Taught, teacher: str) -> TrainSetup:
        """The same run, but learning a teacher's likeliest tokens.

        Args:
            taught: for every training and validation row.
            teacher: a digest of what made them.

        Raises:
            ConfigError: the run's loss is not over tokens.
        """
        if self.loss != "tokens":
            raise ConfigError(
                "a teacher's tokens need the loss over tokens",
                where="training.loss",
                got=self.loss,
                expected="tokens",
            )
        return replace(self, taught=taught, soft_hash=teacher)

    def among(self, ranks: Ranks) -> TrainSetup:
        """The same run, but each process runs its share of every batch's rows alone.

        Raises:
            ConfigError: a loss that is no sum over rows.
        """
        refused = {
            "compares a batch's texts with each other": self.loss == "pairs",
            "hides words of a batch as a whole (training.fluency)": self.config.fluency > 0,
        }
        for why, found in refused.items():
            if found and ranks.size > 1:
                raise ConfigError(
                    f"the loss {why}: its rows cannot be shared out among processes",
                    where="training",
                    got=f"{ranks.size} processes",
                    expected="one process",
                )
        return replace(self, ranks=ranks)

    def starting_from(self, trainable: Trainable) -> TrainSetup:
        """The same run of a trainable that starts from other numbers."""
        changed = replace(self, trainable=trainable)
        return replace(changed, start=changed.new_method())

    @property
    def unpooled(self) -> TrainSetup:
        """The same for a part of a whole run, at whose end alone a pooled head is pooled."""
        if self.spec.head != "pooled":
            return self
        return replace(self, task=replace(self.task, spec=self.spec.with_head("trained")))

    @property
    def leaves_inputs(self) -> bool:
        """Whether the inputs are computed without what is trained, so that they can be cached."""
        return self.trainable.leaves_inputs(self.backbone, self.spec)

    def new_method(self) -> Method:
        """The first parameters once more."""
        return self.trainable.build(self.backbone, self.task, self.config)

    @property
    def peak_lr(self) -> float:
        """The learning rate that is given, or what is trained takes by default."""
        if isinstance(self.config.lr, float | int):
            return float(self.config.lr)
        return self.trainable.default_lr(self.backbone, self.config)

    def validate(
        self, method: Method, records: Sequence[Record] | None = None, **options: Any
    ) -> Validation:
        """Score a method as it is now; see `validate_injection`."""
        return self.validate_injection(method.injection(), head_of(method), records, **options)

    def validate_injection(
        self,
        injection: Injection,
        head: Head | None = None,
        records: Sequence[Record] | None = None,
        *,
        brief: bool | None = None,
        on_rows: OnRows | None = None,
    ) -> Validation:
        """Score an injection, and the head beside it.

        Args:
            records: the validation rows by default.
            brief: see `validate`; as planned by default.
        """
        return validate(
            self.backbone,
            self.spec,
            self.task.validation if records is None else records,
            injection,
            self.slot,
            head,
            calibrated=self.config.calibrate,
            brief=self.validations.brief if brief is None else brief,
            on_rows=on_rows,
            taught=self.taught if records is None else None,
            soft=self.soft_validation if records is None else None,
        )


def check_start_of(
    backbone: Backbone,
    task: Task,
    trainable: Trainable,
    config: TrainConfig,
    name: str | None = None,
) -> tuple[Resolved, Method]:
    """The checks that need no rows: of the splits, the settings and the first parameters.

    Returns:
        The loss, and the method with its first parameters.

    Raises:
        ConfigError: settings that contradict the backbone, the task or each other, or libraries
            that are not installed.
        DataError: no training or no validation rows.
        BackboneError: an embedding table that is not all finite numbers.
    """
    require_extra("train", "training")
    check_splits(task, name)
    trainable.check(backbone, task, config)
    check_task(backbone, task.spec)
    check_augmentation(task.spec, config.augment)
    check_reads(backbone, trainable.name, trainable.slot, task.spec)
    check_fluency(backbone, task.spec, trainable.slot, config.fluency)
    loss = resolve_loss(config.loss, task.spec, backbone)
    check_embeddings(backbone)
    if config.lr != "auto":
        lr = trainable.default_lr(backbone, config) if config.lr is None else config.lr
        check_rate(lr, given=config.lr is not None)
    start = trainable.build(backbone, task, config)
    check_start(start)
    return loss, start


def remember_inputs(
    setups: Sequence[TrainSetup],
    late: Sequence[TrainSetup],
    checkpoint: Checkpoint,
    folder: Path | None,
) -> dict[str, int | str]:
    """Cache what the backbone makes of the training rows, and of the late ones' validation rows.

    Args:
        late: those of the set-ups whose inputs are left as they are; without any, nothing is
            cached.

    Returns:
        The place, the tokens and their bytes; empty where nothing is cached.

    Raises:
        Stop: Ctrl-C.
    """
    if not late:
        return {}
    rows: list[Encoded] = [row for setup in setups for row in setup.rows]
    for setup in late:
        tokenizer = setup.backbone.tokenizer
        rows += setup.spec.encode_rows(setup.task.validation, tokenizer, setup.slot)
    backbone, wanted = late[0].backbone, late[0].config.inputs
    with may_cut():
        kept = cache_inputs(backbone, rows, wanted, folder, checkpoint.inputs)
    if kept:
        checkpoint.inputs = str(kept["place"])
    return kept


def run_parts(
    backbone: Backbone, task: Task, trainable: Trainable, config: TrainConfig
) -> dict[str, str]:
    """What two sittings of one run have in common, each as a digest by its name."""
    parts: dict[str, Any] = {
        **trainable.parts,
        "training settings": config.model_dump(mode="json", exclude=_FREE),
        # How long an answer may be is a setting of the test alone.
        "task": task.spec.model_dump(mode="json", exclude={"max_new_tokens"}),
        "data": task.report.data_hash,
        "backbone": {k: v for k, v in asdict(backbone.fingerprint).items() if (k, v) != _NO_LABELS},
        "precision": str(backbone.dtype),
    }
    return {name: key_of(part) for name, part in parts.items()}


def parts_of_runs(runs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What two sittings of several runs have in common, by the part's and the run's name."""
    return {
        f"{part} of {name}" if name else part: value
        for name, parts in runs.items()
        for part, value in parts.items()
    }


def key_of(parts: object) -> str:
    """A run's key: the same for the same parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
