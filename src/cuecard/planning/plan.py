"""How long a training would take on some GPUs, and whether it fits them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cuecard.planning.cost import (
    StepCost,
    Trained,
    layer_bytes,
    trained_bytes,
    trained_numbers,
    weight_bytes,
)
from cuecard.planning.gpus import Machine
from cuecard.planning.shape import ModelShape
from cuecard.training.budget.activation_checkpointing import activation_bytes

Strategy = Literal["one", "data-parallel", "sharded"]
# Of a GPU's memory: the rest goes to the driver, the libraries and what an allocator cannot use.
_USABLE = 0.92


class PlanSettings(BaseModel):
    """What is to be trained, and on what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = Field(
        description="A model's config.json, the folder that has it, or a catalogue name; weights "
        "are not needed."
    )
    gpus: str = Field(description="How many of which GPUs, such as 8xH100.")
    rows: int = Field(ge=1, le=10**12, description="Training rows.")
    length: int = Field(default=256, ge=1, description="Tokens of a row, the prompt's apart.")
    epochs: float = Field(
        default=3.0, gt=0, le=10_000, allow_inf_nan=False, description="Passes over them."
    )
    batch_rows: int = Field(default=32, ge=1, description="Rows per step, of all GPUs together.")
    method: Trained = Field(default="prompt-tuning", description="What is trained.")
    prompt_length: int = Field(default=20, ge=1, description="The prompt's positions.")
    quantize: Literal["none", "int8", "int4"] = Field(
        default="none", description="How the layers' matrices are stored; everything else is bf16."
    )
    mfu: float = Field(
        default=0.35,
        ge=0.01,
        le=1,
        allow_inf_nan=False,
        description="Model FLOPs utilisation: the share of the GPU's peak that is reached. An "
        "assumption; nothing here measures it.",
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device.

    Attributes:
        weights: of the backbone, and what it gathers of other devices' at a time.
        prompt: with its gradient and the optimiser's state.
        logits: where answers are read, in fp32, with their gradients.
        kept: activations for the backward pass.
        recomputed: the same with activation checkpointing.
    """

    weights: float
    prompt: float
    logits: float
    kept: float
    recomputed: float

    def total(self, *, recompute: bool) -> float:
        """Of all of it."""
        held = self.recomputed if recompute else self.kept
        return self.weights + self.prompt + self.logits + held


@dataclass(frozen=True, slots=True)
class PlannedWay:
    """One way to share the work out.

    Attributes:
        strategy: "one" GPU, every GPU with all weights, or with its part of the layers' (FSDP).
        devices: how many GPUs it uses.
        rows_per_device: of a step.
        memory: on each of them.
        activations: "keep", or "recompute" where they do not fit otherwise; None where it does not
            fit at all.
        exchanged: bytes that a device receives in a step.
        step_seconds, tokens_per_second, hours: None where it does not fit.
    """

    strategy: Strategy
    devices: int
    rows_per_device: int
    memory: Memory
    activations: Literal["keep", "recompute"] | None
    exchanged: float
    step_seconds: float | None
    tokens_per_second: float | None
    hours: float | None


@dataclass(frozen=True, slots=True)
class HardwarePlan:
    """All ways on a machine.

    Attributes:
        flops_per_token: of a step, activations kept.
    """

    settings: PlanSettings
    machine: Machine
    shape: ModelShape
    trained: int
    steps: int
    tokens: int
    flops_per_token: float
    ways: tuple[PlannedWay, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "settings": self.settings.model_dump(mode="json")}


def plan_training(settings: PlanSettings, config: Path) -> HardwarePlan:
    """Compute what a training takes. Nothing is run, and no weights are read.

    Args:
        config: the backbone's config.json, or its folder.

    Raises:
        ConfigError: GPUs that are not listed.
        BackboneError: a configuration that cannot be used.
    """
    machine = Machine.parse(settings.gpus)
    shape = ModelShape.of(config)
    steps = math.ceil(settings.rows * settings.epochs / settings.batch_rows)
    tokens = _row_tokens(settings)
    cost = StepCost.of(shape, 1, tokens)
    ways: list[Strategy] = ["one"]
    if machine.count > 1:
        ways.append("data-parallel")
        if settings.quantize == "none":  # other weights are not sharded
            ways.append("sharded")
    return HardwarePlan(
        settings,
        machine,
        shape,
        trained_numbers(shape, settings.method, settings.prompt_length),
        steps,
        math.ceil(settings.rows * settings.epochs) * tokens,
        cost.step(recompute=False) / tokens,
        tuple(_way(way, settings, machine, shape, steps) for way in ways),
    )


def _row_tokens(settings: PlanSettings) -> int:
    """Positions that a row runs: a prefix's own keys and values are run by no token."""
    prompt = settings.prompt_length if settings.method == "prompt-tuning" else 0
    return settings.length + prompt


def _way(
    strategy: Strategy, settings: PlanSettings, machine: Machine, shape: ModelShape, steps: int
) -> PlannedWay:
    gpu, devices = machine.gpu, 1 if strategy == "one" else machine.count
    rows, tokens = math.ceil(settings.batch_rows / devices), _row_tokens(settings)
    memory = _memory(strategy, settings, shape, rows, devices)
    room = gpu.memory * _USABLE
    recompute = memory.total(recompute=False) > room
    exchanged = _exchanged(strategy, settings, shape, devices)
    if recompute and memory.total(recompute=True) > room:
        return PlannedWay(strategy, devices, rows, memory, None, exchanged, None, None, None)
    work = StepCost.of(shape, rows, tokens).step(recompute=recompute)
    computing, sending = work / (gpu.flops * settings.mfu), exchanged / gpu.link
    # Weights are gathered while the layer before is computed; gradients are sent at the end.
    seconds = max(computing, sending) if strategy == "sharded" else computing + sending
    return PlannedWay(
        strategy,
        devices,
        rows,
        memory,
        "recompute" if recompute else "keep",
        exchanged,
        seconds,
        settings.batch_rows * tokens / seconds,
        steps * seconds / 3600,
    )


def _memory(
    strategy: Strategy, settings: PlanSettings, shape: ModelShape, rows: int, devices: int
) -> Memory:
    weights = weight_bytes(shape, settings.quantize)
    if strategy == "sharded":  # its part of the layers, the one at work, and the next one
        layers = layer_bytes(shape, settings.quantize)
        weights += layers * (1 / devices + 2 / shape.layers - 1)
    layer = rows * _row_tokens(settings) * shape.hidden * 2
    kept, again = activation_bytes(layer, shape.layers)
    numbers = trained_numbers(shape, settings.method, settings.prompt_length)
    return Memory(weights, trained_bytes(numbers), 8.0 * rows * shape.vocab, kept, again)


def _exchanged(
    strategy: Strategy, settings: PlanSettings, shape: ModelShape, devices: int
) -> float:
    """Bytes: the others' gradients of the prompt, and forward and backward the others' weights."""
    gradient = 4.0 * trained_numbers(shape, settings.method, settings.prompt_length)
    found = gradient * (devices - 1)
    if strategy == "sharded":
        found += 2 * layer_bytes(shape, settings.quantize) * (devices - 1) / devices
    return found
