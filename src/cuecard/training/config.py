"""How to train, apart from what and on what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cuecard.errors import ConfigError
from cuecard.validation_text import counted

Optimizer = Literal["adamw", "adafactor", "sgd"]
Schedule = Literal["constant", "linear", "cosine"]
LossKind = Literal["auto", "labels", "tokens", "head"]
Select = Literal["loss", "accuracy"]
Activations = Literal["auto", "keep", "recompute"]
Inputs = Literal["auto", "memory", "disk", "recompute"]
Keep = Literal["best", "average"]
Augmentation = Literal["flip", "crop", "shift"]
HeadStart = Literal["zeros", "words"]


DEFAULT_BUDGET = "2m"
FEW_SHOT_SEEDS = (13, 21, 42, 87, 100)
"""Those of the few-shot protocol of Gao et al. (ACL 2021); each has rows of its own."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may spend on training and validations, the test apart.

    Attributes:
        seconds: of CPU time; None for a budget in steps.
        steps: of all contestants together; None for one in seconds.
    """

    seconds: float | None
    steps: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """ "90s", "2m", "1.5h", "90" (seconds), or "300 steps".

        Raises:
            ConfigError: anything else.
        """
        number, unit = text.strip().lower(), "s"
        for ending in ("steps", "step", "s", "m", "h"):
            if number.endswith(ending):
                number, unit = number.removesuffix(ending).strip(), ending
                break
        try:
            amount = float(number)
        except ValueError:
            amount = 0.0
        in_steps = unit.startswith("step")
        if not 0 < amount < float("inf") or (in_steps and amount != int(amount)):
            raise ConfigError(
                "not a budget",
                where="training.budget",
                got=text,
                expected="CPU time such as 90s, 2m or 1h, or a number of steps such as '300 steps'",
            )
        if in_steps:
            return cls(None, int(amount))
        return cls(amount * {"s": 1, "m": 60, "h": 3600}[unit])

    def __str__(self) -> str:
        if self.seconds is None:
            return counted(self.steps or 0, "step")
        return f"{self.seconds:g} s of CPU time"


class TrainConfig(BaseModel):
    """Settings of a run. The defaults suit a small model and a few thousand rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=300, ge=1, description="Optimiser steps at most.")
    budget: str | None = Field(
        default=None,
        exclude_if=lambda given: given is None,
        description="What the method auto may spend: CPU time such as 90s, 2m or 1h, or a number "
        "of steps such as '300 steps'. By default the steps if they are given, else 2m.",
    )
    batch_rows: int = Field(
        default=8,
        ge=1,
        description="Rows per forward pass. Small batches learn more from the same rows (LOG.md).",
    )
    batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Also limit a batch's rows times its longest row, in tokens.",
    )
    accumulation: int = Field(
        default=1, ge=1, description="Forward passes per optimiser step (gradient accumulation)."
    )
    optimizer: Optimizer = Field(
        default="adamw",
        description="The optimiser. adafactor is as in Lester et al. (2021): no parameter scaling, "
        "no relative step; sgd, with a momentum of 0.9, as in Jia et al. (2022), visual prompt "
        "tuning, and wants rates a hundred times those of adamw.",
    )
    lr: float | Literal["auto"] | None = Field(
        default=None,
        description="Peak learning rate of what the method chiefly learns with; auto tries a few "
        "on the validation rows. By default the method's own (see `cuecard methods`), else the "
        "optimiser's: for adafactor the paper's 0.3, for adamw a share of the embedding table's "
        "RMS.",
    )
    head_lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["lr"] = Field(
        default=1e-3,
        description="Peak learning rate of a task's head; lr takes that of the prompt. The head "
        "starts from zeros.",
    )
    head_start: HeadStart = Field(
        default="zeros",
        exclude_if=lambda start: start == "zeros",
        description="What the head of a classification starts from. words: what the model itself "
        "says of the labels' words, so that these become trainable tokens of their own (DART).",
    )
    fluency: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        exclude_if=lambda weight: weight == 0,
        description="Weight of saying hidden words of the input, a seventh of them, beside the "
        "answer (DART's fluency constraint). Costs a second pass per step.",
    )
    weight_decay: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Weight decay; by default 0 for adamw and the paper's 1e-5 for adafactor.",
    )
    schedule: Schedule = Field(
        default="cosine", description="What the learning rate does after the warm-up."
    )
    warmup: int = Field(default=10, ge=0, description="Steps of linear warm-up.")
    clip: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="The largest gradient norm; 0 switches clipping off.",
    )
    loss: LossKind = Field(
        default="auto",
        description="What is minimised. tokens is the cross-entropy of the target's tokens over "
        "the vocabulary, as in the paper; labels is the cross-entropy among the labels' scores, of "
        "more than 16 labels of several tokens among the row's own and 15 drawn ones (sampled "
        "softmax, see `label_sample`); head is a trained head's own, for tasks with one; auto "
        "takes labels where every label is one token, and tokens for other words.",
    )
    select: Select = Field(
        default="loss",
        description="What chooses the best step on the validation rows. The loss sees how sure "
        "every answer is, so that a few hundred rows tell steps apart which their accuracy cannot.",
    )
    calibrate: bool = Field(
        default=True,
        description="Fit a number per label on the validation rows that is taken off its score. "
        "A classification's prompt keeps the numbers of its best step, and every use of it takes "
        "them off.",
    )
    eval_every: int | None = Field(
        default=None,
        ge=1,
        description="Steps between validations. By default ten are spread over the run, or fewer "
        "where they would be more than half of the work of the steps.",
    )
    patience: int = Field(
        default=0,
        ge=0,
        description="Early-stopping patience, in validations; 0 never stops early.",
    )
    checkpoint_every: int = Field(default=20, ge=1, description="Steps between checkpoints.")
    inputs: Inputs = Field(
        default="auto",
        description="Where the keys and values of the inputs are cached for a prompt in the slot "
        "suffix. They are then computed once and not in every epoch; auto takes memory, then the "
        "run's folder, as far as there is room, else computes them every time.",
    )
    augment: tuple[Augmentation, ...] = Field(
        default=(),
        exclude_if=lambda given: not given,
        description="How training images are changed at random, anew in every epoch: flip mirrors "
        "half of them, crop shows a part of at least half of it, shift moves it by up to an "
        "eighth. What the first layer takes in of them is then computed at every step.",
    )
    activations: Activations = Field(
        default="auto",
        description="Keep what the backward pass needs, or recompute it (activation "
        "checkpointing). To recompute costs a third more time for a fraction of the memory and "
        "gives the same bits; auto recomputes where keeping takes over half of what is free.",
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the prompt's init and of the order of the rows."
    )

    @field_validator("budget")
    @classmethod
    def _check_budget(cls, budget: str | None) -> str | None:
        """
        Raises:
            ConfigError: neither a time nor a number of steps.
        """
        if budget is not None:
            Budget.parse(budget)
        return budget

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
    def head_peak(self) -> float | None:
        """The head's peak learning rate; None for that of the prompt."""
        return None if self.head_lr == "lr" else float(self.head_lr)

    @property
    def validate_every(self) -> int:
        """Steps between validations."""
        return self.eval_every or max(1, self.steps // 10)


def check_seeds(seeds: int, keep: Keep, config: TrainConfig, *, shots: bool = False) -> None:
    """
    Raises:
        ConfigError: the average of one seed or of several draws of rows, or several seeds and a
            learning rate to be found.
    """
    if seeds == 1 and keep == "average":
        raise ConfigError(
            "one seed has no average", where="keep", got=keep, expected="best, or several seeds"
        )
    if shots and keep == "average":
        raise ConfigError(
            "prompts of several draws have no rows in common to choose their average by",
            where="keep",
            got="average, and shots",
            expected="best",
        )
    if seeds > 1 and config.lr == "auto":
        raise ConfigError(
            "several seeds take one learning rate",
            where="training.lr",
            got="auto",
            expected="a number",
            hint="train one seed with auto, then several with the rate that it found",
        )


def seeds_of(count: int, config: TrainConfig, *, shots: bool = False) -> tuple[int, ...]:
    """The seeds of several runs: counted up from config.seed, or those of the few-shot protocol.

    Args:
        shots: whether each seed draws rows of its own.

    Raises:
        ConfigError: more draws than the protocol has, or a seed to count from beside it.
    """
    if not shots or count == 1:
        return tuple(range(config.seed, config.seed + count))
    if config.seed or count > len(FEW_SHOT_SEEDS):
        listed = ", ".join(map(str, FEW_SHOT_SEEDS))
        raise ConfigError(
            "the few-shot protocol has seeds of its own",
            where="training.seed" if config.seed else "seeds",
            got=f"seed {config.seed} with {count} seeds" if config.seed else count,
            expected=f"up to {len(FEW_SHOT_SEEDS)} seeds, which are {listed}; or a seed alone",
        )
    return FEW_SHOT_SEEDS[:count]


def with_budget(config: TrainConfig) -> TrainConfig:
    """The settings of a race, with its budget: what is given, else the steps if they are.

    Raises:
        ConfigError: a learning rate, or both a budget and other steps.
    """
    if config.lr is not None:
        raise ConfigError(
            "auto chooses the learning rate itself",
            where="training.lr",
            got=config.lr,
            expected="no rate, or a method by its name",
        )
    # A recipe that is read again has every default set.
    steps = f"{config.steps} steps"
    if config.budget is None:
        budget = steps if "steps" in config.model_fields_set else DEFAULT_BUDGET
        return config.model_copy(update={"budget": budget})
    if config.steps != TrainConfig.model_fields["steps"].default and config.budget != steps:
        raise ConfigError(
            "auto takes a budget or a number of steps, not both",
            where="training.steps",
            got=f"{steps}, and the budget {config.budget}",
            expected="one of them",
        )
    return config


def check_no_rates(config: TrainConfig, what: str) -> None:
    """
    Args:
        what: trains with one rate.

    Raises:
        ConfigError: a search of learning rates.
    """
    if config.lr == "auto":
        raise ConfigError(
            f"{what} tries no learning rates",
            where="training.lr",
            got="auto",
            expected="a number, or the method's own",
        )


def check_no_budget(config: TrainConfig) -> None:
    """
    Raises:
        ConfigError: a budget, for a method that makes a given number of steps.
    """
    if config.budget is not None:
        raise ConfigError(
            "only the method auto takes a budget",
            where="training.budget",
            got=config.budget,
            expected="--steps, or --method auto",
        )
