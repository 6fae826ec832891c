"""A dry run as text."""

from __future__ import annotations

from collections.abc import Mapping

from rich.cells import cell_len, set_cell_size
from rich.console import Console

from cuecard.cli.views.tables import print_facts, say, say_line
from cuecard.parameter_counts import trained_text
from cuecard.runs.dry_run import Plan
from cuecard.runs.estimate import about
from cuecard.training.config import seeds_of
from cuecard.validation_text import counted

_BAR = 30
_NAMED = 10  # rare labels


def print_plan(plan: Plan, out: Console) -> None:
    """Print the resolved recipe and its numbers."""
    say(out, "Recipe", "bold")
    say_line(out, plan.recipe.to_yaml())
    facts = [
        ("run folder", str(plan.folder)),
        ("backbone", f"{plan.backbone_parameters:,} parameters, frozen"),
        (
            "prompt",
            f"{plan.prompt_length} positions, {plan.prompt_bytes:,} bytes",
        ),
        (
            "parameters",
            trained_text(
                plan.trained_parameters, plan.backbone_parameters + plan.trained_parameters
            ),
        ),
        ("loss", plan.loss),
        ("rows", ", ".join(f"{count:,} {name}" for name, count in plan.rows.items())),
        ("truncated", counted(plan.truncated, "training row")),
        (
            "steps",
            f"{plan.steps:,} at most, {plan.steps_per_epoch:,} per epoch, {plan.epochs:.1f} epochs",
        ),
        ("tokens per step", f"{plan.tokens_per_step:,.0f}"),
        *_seeds(plan),
        (
            "memory",
            f"{plan.weight_bytes / 2**20:,.0f} MiB weights, about "
            f"{plan.activation_bytes / 2**20:,.0f} MiB above them"
            + (", layers run again" if plan.activations == "recompute" else ""),
        ),
        ("time", _time(plan)),
    ]
    print_facts(out, facts)
    for note in plan.notes:
        say_line(out, f"\nNote: {note}")
    if plan.rare:
        say_line(out, f"\nNote: {_rare(plan.rare)}")
    if plan.labels:
        say(out, "\nTraining rows per label", "bold")
        _bars([(label, count) for label, count in plan.labels.items()], out)
    say(out, "\nTraining rows by input tokens", "bold")
    _bars([(f"{low}-{high}", count) for low, high, count in plan.lengths], out)


def _seeds(plan: Plan) -> list[tuple[str, str]]:
    """A line about several seeds; none about one."""
    count, drawn = plan.recipe.seeds, plan.recipe.data.shots is not None
    if count == 1:
        return []
    seeds = seeds_of(count, plan.recipe.training, shots=drawn)
    named = ", ".join(map(str, seeds)) if drawn else f"{seeds[0]} to {seeds[-1]}"
    rows = " with rows of its own" if drawn else ""
    each = f"{named}, each{rows} tested once"
    return [("seeds", f"{count}: {each}; {plan.tokens:,.0f} tokens in the steps of all of them")]


def _time(plan: Plan) -> str:
    found = plan.estimate
    checks = counted(plan.validations, "validation")
    parts = f"steps {found.steps:,.0f} s, {checks} {found.validation:,.0f} s"
    compared = ", and the comparison" if plan.recipe.compare else ""
    return f"{about(found.seconds)} on this machine ({parts}, test {found.test:,.0f} s){compared}"


def _rare(rare: Mapping[str, int]) -> str:
    """Labels that cannot be learnt well, the rarest first."""
    order = sorted(rare, key=lambda label: (rare[label], label))
    some = ", ".join(f"{label!r} ({rare[label]})" for label in order[:_NAMED])
    more = f", and {len(order) - _NAMED:,} more" if len(order) > _NAMED else ""
    have = "1 label has" if len(order) == 1 else f"{len(order):,} labels have"
    return f"{have} fewer than 3 training rows: {some}{more}"


def _bars(pairs: list[tuple[str, int]], out: Console) -> None:
    most = max(count for _, count in pairs)
    block = "█" if out.encoding.startswith("utf") else "#"
    rows = [(name, f"{count:,}", block * round(_BAR * count / most)) for name, count in pairs]
    wide = max(cell_len(name) for name, *_ in rows)
    for name, count, bar in rows:
        say_line(out, f"  {set_cell_size(name, wide)}  {count:>7}  {bar}".rstrip())
