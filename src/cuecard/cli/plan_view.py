"""A dry run as text."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from cuecard.dry_run import Plan

_BAR = 40


def print_plan(plan: Plan, out: Console) -> None:
    """Print the resolved recipe and its numbers."""
    out.print("Recipe", style="bold")
    out.print(plan.recipe.to_yaml(), markup=False)
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("run folder", str(plan.folder)),
        ("backbone", f"{plan.backbone_parameters:,} parameters, frozen"),
        (
            "prompt",
            f"{plan.prompt_length} positions, {plan.trained_parameters:,} trained parameters, "
            f"{plan.prompt_bytes:,} bytes",
        ),
        ("loss", plan.loss),
        ("rows", ", ".join(f"{count:,} {name}" for name, count in plan.rows.items())),
        ("truncated", f"{plan.truncated:,} training rows"),
        (
            "steps",
            f"{plan.steps:,} at most, {plan.steps_per_epoch:,} per epoch, {plan.epochs:.1f} epochs",
        ),
        ("tokens per step", f"{plan.tokens_per_step:,.0f}"),
        (
            "memory",
            f"{plan.weight_bytes / 2**20:,.0f} MiB weights, about "
            f"{plan.activation_bytes / 2**20:,.0f} MiB above them"
            + (", layers run again" if plan.activations == "recompute" else ""),
        ),
    ):
        facts.add_row(name, value)
    out.print(facts)
    if plan.labels:
        out.print("\nTraining rows per label", style="bold")
        _bars([(label, count) for label, count in plan.labels.items()], out)
    out.print("\nTraining rows by input tokens", style="bold")
    _bars([(f"{low}-{high}", count) for low, high, count in plan.lengths], out)


def _bars(pairs: list[tuple[str, int]], out: Console) -> None:
    most = max(count for _, count in pairs)
    wide = max(len(name) for name, _ in pairs)
    for name, count in pairs:
        bar = "█" * round(_BAR * count / most)
        out.print(f"  {name:<{wide}}  {count:>7,}  {bar}", markup=False)
