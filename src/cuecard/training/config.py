"""How to train, apart from what and on what."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cuecard.errors import ConfigError

Optimizer = Literal["adamw", "adafactor"]
Schedule = Literal["constant", "linear", "cosine"]
LossKind = Literal["auto", "labels", "tokens", "head"]
Select = Literal["loss", "accuracy"]
Activations = Literal["auto", "keep", "recompute"]
Inputs = Literal["auto", "memory", "disk", "recompute"]


class TrainConfig(BaseModel):
    """Settings of a run. The defaults suit a small model and a few thousand rows.

    Attributes:
        steps: optimiser steps at most.
        batch_rows: rows per forward pass; small ones learn more from the same rows (LOG.md).
        batch_tokens: also limit a batch's rows times its longest row; None for no limit.
        accumulation: forward passes per optimiser step.
        optimizer: "adamw", or "adafactor" as in Lester et al. (2021): no parameter scaling, no
            relative step.
        lr: the learning rate; None takes the optimiser's own (adafactor: the paper's 0.3; adamw:
            a share of the embedding table's RMS); "auto" tries a few on the validation rows.
        weight_decay: None takes 0 for adamw and the paper's 1e-5 for adafactor.
        schedule: what the learning rate does after the warm-up.
        warmup: steps of linear warm-up.
        clip: the largest gradient norm; 0 switches clipping off.
        loss: "tokens" is the cross-entropy of the target's tokens over the vocabulary, as in the
            paper; "labels" is the cross-entropy among the labels' scores, of more than 16 labels
            of several tokens among the row's own and 15 drawn ones (sampled softmax, see
            `label_sample`); "head" is a head's own (`TaskKind.head_loss`), for tasks with one;
            "auto" takes "labels" where every label is one token, and "tokens" for other words.
        head_lr: the peak learning rate of a task's head, which starts from zeros.
        select: what chooses the best step on the validation rows. The loss sees how sure every
            answer is, so that a few hundred rows tell steps apart which their accuracy cannot.
        calibrate: whether a classification's prompt is kept with a number per label, fitted on the
            validation rows at its best step, that is taken off the label's score in every use.
        eval_every: steps between validations; None spreads ten over the run, or fewer where they
            would be more than half of the work of the steps (see `plan_looks`).
        patience: validations without a better score before the run stops; 0 never stops.
        checkpoint_every: steps between checkpoints.
        inputs: where the keys and values of the inputs are kept if the prompt stands behind them
            (slot "suffix"), so that they are computed once and not in every epoch; "auto" takes
            memory, then the run's folder, as far as there is room, else computes them every time.
        activations: what the backward pass needs is kept, or every layer keeps its input alone and
            runs again (activation checkpointing): a third more time for a fraction of the memory,
            and the same bits. "auto" recomputes where keeping takes over half of what is free.
        seed: of the init and of the order of the rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=300, ge=1)
    batch_rows: int = Field(default=8, ge=1)
    batch_tokens: int | None = Field(default=None, ge=1)
    accumulation: int = Field(default=1, ge=1)
    optimizer: Optimizer = "adamw"
    lr: float | Literal["auto"] | None = None
    head_lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    weight_decay: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    schedule: Schedule = "cosine"
    warmup: int = Field(default=10, ge=0)
    clip: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    loss: LossKind = "auto"
    select: Select = "loss"
    calibrate: bool = True
    eval_every: int | None = Field(default=None, ge=1)
    patience: int = Field(default=0, ge=0)
    checkpoint_every: int = Field(default=20, ge=1)
    inputs: Inputs = "auto"
    activations: Activations = "auto"
    seed: int = Field(default=0, ge=0)

    @field_validator("lr")
    @classmethod
    def _check_lr(cls, lr: float | str | None) -> float | str | None:
        """
        Raises:
            ConfigError: a rate that is not a positive number.
        """
        if isinstance(lr, float) and not (math.isfinite(lr) and lr > 0):
            raise ConfigError(
                "the learning rate must be a positive number",
                where="training.lr",
                got=lr,
                expected="a finite number above 0, or auto",
            )
        return lr

    @property
    def validate_every(self) -> int:
        """Steps between validations."""
        return self.eval_every or max(1, self.steps // 10)
