"""What a recipe would do, without training: sizes, lengths, balance, steps, memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cuecard.artifacts.tensors import tensors_of
from cuecard.backbones.quantization.weights import weight_bytes, weight_count
from cuecard.catalogue import Progress
from cuecard.evaluation.advice import advice
from cuecard.methods import MethodSettings
from cuecard.runs.estimate import Estimate, estimate_run
from cuecard.runs.folder import RunFolder
from cuecard.runs.recipe import Recipe
from cuecard.tasks import Task, batches_by_length
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.tasks.splits import SplitReport
from cuecard.training.race.runner import RaceRunner
from cuecard.training.race.with_lora import RaceWithLora
from cuecard.training.seeds import SeedTraining
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.head import head_of
from cuecard.training.trainables.initial_method import suited_to
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Backbone

_BINS = 10
_RARE = 3  # training rows


@dataclass(frozen=True, slots=True)
class Plan:
    """A dry run.

    Attributes:
        recipe: with every default written out.
        folder: where the run would go.
        backbone_parameters, trained_parameters: counts.
        prompt_bytes: the prompt as float32.
        prompt_length: vectors per request.
        loss: the loss that would be used.
        rows: split -> rows.
        labels: label -> training rows, or words of them.
        lengths: (from, to, rows) of the training rows' context tokens.
        truncated: training rows that lose tokens to max_length.
        steps, steps_per_epoch, epochs: of the training.
        tokens_per_step: mean tokens in a step's batches, padding included, the prompt once; of one
            seed.
        tokens: of all steps of all seeds, as run forward.
        weight_bytes, activation_bytes: memory of the backbone, and a rough peak above it.
        activations: "keep" or "recompute".
        data: what was done to the data.
        notes: what to mind about it, in sentences.
        validations: how many, that before the first step counted in.
        estimate: how long all seeds would take on this machine, without the comparison.
        rare: labels with fewer than three training rows -> how many.
    """

    recipe: Recipe
    folder: Path
    backbone_parameters: int
    trained_parameters: int
    prompt_bytes: int
    prompt_length: int
    loss: str
    rows: dict[str, int]
    labels: dict[str, int]
    lengths: tuple[tuple[int, int, int], ...]
    truncated: int
    steps: int
    steps_per_epoch: int
    epochs: float
    tokens_per_step: float
    tokens: float
    weight_bytes: int
    activation_bytes: int
    activations: str
    data: SplitReport
    validations: int
    estimate: Estimate
    rare: dict[str, int]
    notes: tuple[str, ...] = ()


def dry_run(recipe: Recipe, *, progress: Progress | None = None, overwrite: bool = False) -> Plan:
    """Resolve a recipe down to its numbers; writes nothing and trains nothing.

    Raises:
        CuecardError: whatever the run itself would refuse.
    """
    RunFolder.of(recipe).check(recipe, overwrite=overwrite)
    task = recipe.read_task(progress)
    method = None if recipe.is_auto else recipe.read_method()
    backbone = recipe.load_backbone(progress)
    if recipe.seeds > 1 and method is not None:
        several = SeedTraining(
            backbone,
            task,
            method,
            recipe.training,
            seeds=recipe.seeds,
            keep=recipe.keep,
            shots=recipe.data.shots,
        )
        task = several.tasks[several.seeds[0]]
    setup, notes = _setup(backbone, task, method, recipe)
    config = setup.config
    trained, rows = setup.start, setup.rows
    injection = trained.injection()
    lengths = row_lengths(rows)
    batches = batches_by_length(lengths, config.batch_rows, config.batch_tokens, config.seed, 0)
    padded = [len(batch) * max(lengths[i] for i in batch) + injection.length for batch in batches]
    per_step = sum(padded) / len(padded) * config.accumulation
    per_epoch = max(1, len(batches) // config.accumulation)
    labels_of = task.spec.task_kind.labels_of
    counts = Counter(label for r in task.train for label in labels_of(task.spec, r.target or ""))
    return Plan(
        recipe=recipe,
        folder=recipe.folder,
        backbone_parameters=weight_count(backbone.model),
        trained_parameters=sum(p.numel() for p in trained.parameters()),
        prompt_bytes=sum(t.nbytes for t in tensors_of(injection, head_of(trained)).values()),
        prompt_length=injection.length,
        loss=setup.loss,
        rows={"train": len(task.train), "validation": len(task.validation), "test": len(task.test)},
        labels=dict(counts.most_common()) if task.spec.labels else {},
        lengths=_histogram([row.positions for row in rows]),
        truncated=sum(row.cut > 0 for row in rows),
        steps=config.steps,
        steps_per_epoch=per_epoch,
        epochs=config.steps / per_epoch,
        tokens_per_step=per_step,
        tokens=per_step * config.steps * recipe.seeds,
        weight_bytes=weight_bytes(backbone.model),
        activation_bytes=setup.activations.nbytes,
        activations=setup.activations.how,
        data=task.report,
        validations=setup.validations.count,
        estimate=estimate_run(setup).times(recipe.seeds),
        rare={label: counts[label] for label in task.spec.labels if counts[label] < _RARE},
        notes=(*notes, *advice(task), *((advised,) if (advised := recipe.advice(task)) else ())),
    )


def _setup(
    backbone: Backbone, task: Task, method: MethodSettings | None, recipe: Recipe
) -> tuple[TrainSetup, tuple[str, ...]]:
    """A run's set-up, or that of the first contestant of a race, and what to say of it."""
    if method is not None:
        trainable = TrainablePrompt(suited_to(backbone, method))
        return TrainSetup.of(backbone, task, trainable, recipe.training), ()
    heads = recipe.task.heads_race
    if recipe.allow:
        race = RaceWithLora(backbone, task, recipe.training, heads=heads).prompts
    else:
        race = RaceRunner(backbone, task, recipe.training, runs=recipe.seeds, heads=heads)
    name, *others = race.setups
    more = "".join(f"; {other}" for other in others)
    note = (
        f"the method is chosen within {race.budget}, of {name}{more}; the numbers here are the "
        "first one's, without a race"
    )
    lora = ("LoRA races too, with what is left of the budget",) if recipe.allow else ()
    return race.without_race(), (note, *lora)


def _histogram(lengths: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    low, high = min(lengths), max(lengths)
    width = max(1, -(-(high - low + 1) // _BINS))
    counts = Counter((length - low) // width for length in lengths)
    last = max(counts)
    return tuple(
        (low + i * width, low + (i + 1) * width - 1, counts.get(i, 0)) for i in range(last + 1)
    )
