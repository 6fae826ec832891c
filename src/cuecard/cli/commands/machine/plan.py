"""`cuecard plan`: what a training would take on other hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_facts, print_table, say, say_line
from cuecard.planning.plan import HardwarePlan, PlannedWay, PlanSettings, plan_training
from cuecard.validation_text import counted

_FLAGS = {
    "backbone": Flag(metavar="CONFIG"),
    "gpus": Flag(metavar="COUNTxNAME"),
    "rows": Flag(),
    "length": Flag(),
    "epochs": Flag(),
    "batch_rows": Flag(),
    "method": Flag(),
    "prompt_length": Flag(),
    "quantize": Flag(),
    "mfu": Flag(),
}
_COLUMNS = ("way", "GPUs", "rows each", "GB each", "activations", "tokens/s", "time")
_NAMES = {"one": "one GPU", "data-parallel": "data parallel", "sharded": "sharded (FSDP)"}


def plan(
    own: Annotated[Asked[PlanSettings], Fields(PlanSettings, _FLAGS)],
    as_json: Json = False,
) -> None:
    """Compute memory, speed and time of a training on other hardware. Nothing is run.

    A model's config.json is enough. Figures follow from a cost model and --mfu, an assumption.
    `cuecard train` itself is one GPU, `--launch` data parallel, with `--shard-backbone` sharded.

    Example: cuecard plan --backbone llama/config.json --gpus 8xH100 --rows 100000

    Exit codes: 0 done, 2 bad input.
    """
    from cuecard.catalogue import BACKBONES, backbone_folder
    from cuecard.cli.views.progress import fetch_progress

    settings = own.settings()
    place = Path(settings.backbone)
    if settings.backbone in BACKBONES:  # before a folder, as wherever a backbone is named
        with fetch_progress(json=as_json) as progress:
            place = backbone_folder(settings.backbone, progress)
    found = plan_training(settings, place)
    print_json(found.to_dict()) if as_json else _print(found)


def _print(found: HardwarePlan) -> None:
    out, shape, settings = console(), found.shape, found.settings
    gpu = found.machine.gpu
    print_facts(
        out,
        [
            ("backbone", f"{shape.parameters:,} parameters, {shape.layers} layers"),
            ("prompt", f"{found.trained:,} numbers ({settings.method})"),
            ("GPU", f"{gpu.name}, {gpu.flops / 1e12:,.0f} bf16 TFLOP/s, {gpu.memory / 1e9:.0f} GB"),
            ("training", f"{counted(found.steps, 'step')}, {found.tokens:,} tokens"),
            ("work", f"{found.flops_per_token / 1e9:,.3g} GFLOP per token, forward and backward"),
            ("assumed", f"{settings.mfu:.0%} of the peak is reached (--mfu)"),
        ],
    )
    say(out)
    print_table(out, _COLUMNS, [_row(way) for way in found.ways], left=("activations",))
    say_line(out, "Computed, not measured; validations and the test are not counted.")


def _row(way: PlannedWay) -> tuple[str, ...]:
    memory = way.memory.total(recompute=way.activations != "keep") / 1e9
    first = (_NAMES[way.strategy], str(way.devices), str(way.rows_per_device), f"{memory:,.1f}")
    if way.tokens_per_second is None or way.hours is None:
        return (*first, "too large", "-", "-")
    return (*first, way.activations or "", f"{way.tokens_per_second:,.0f}", _time(way.hours))


def _time(hours: float) -> str:
    if hours < 1 / 30:
        return f"{3600 * hours:,.3g} s"
    if hours < 1:
        return f"{60 * hours:,.1f} min"
    return f"{hours:,.1f} h" if hours < 48 else f"{hours / 24:,.1f} days"
