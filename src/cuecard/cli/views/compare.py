"""A comparison's table on a terminal, and its dry run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from cuecard.cli.views.tables import print_facts, print_table, say, say_line
from cuecard.comparison.contest.report import score_name
from cuecard.comparison.contest.table import scores_and_costs
from cuecard.runs.estimate import about

if TYPE_CHECKING:
    from cuecard.runs.compare.dry_run import ComparePlan, Entered
    from cuecard.runs.compare.run import CompareOutcome


def print_compare(outcome: CompareOutcome, out: Console) -> None:
    """Print the table, what it says, and where the report is."""
    report = outcome.report
    out.print()
    for heading, rows in scores_and_costs(report["contests"][-1], score_name(report)):
        print_table(out, heading, rows)
        out.print()
    for note in report["notes"]:
        say(out, note)
    say_line(out, f"\nreport  {outcome.folder}/compare.html")
    say_line(out, f"table   {outcome.folder}/compare.md, compare.tex, compare.csv, compare.json")


def print_compare_plan(plan: ComparePlan, out: Console) -> None:
    """Print a dry run."""
    rows = [f"{a:,} training, {b:,} validation, {c:,} test" for a, b, c in plan.rows]
    print_facts(
        out,
        [
            ("run folder", str(plan.folder)),
            ("backbone", plan.backbone),
            *(("rows", text) for text in rows),
            ("steps", f"{plan.steps:,} at each learning rate"),
        ],
    )
    for note in plan.notes:
        say_line(out, f"\nNote: {note}")
    out.print()
    heading = ("contestant", "parameters", "learning rates", "time")
    print_table(out, heading, [_entered(each) for each in plan.entered], left=heading[2:])
    total = sum(each.seconds or 0.0 for each in plan.entered) * len(plan.rows)
    say(out, f"\nTraining takes {about(total)} on this machine; choosing in words comes on top.")


def _entered(each: Entered) -> tuple[str, ...]:
    if each.why_not is not None:
        return each.name, "-", f"left out: {each.why_not}", "-"
    if each.seconds is None:
        return each.name, "-", "not trained by steps", "-"
    if each.parameters is None:
        return each.name, "-", "methods and rates race", about(each.seconds)
    rates = ", ".join(f"{rate:.3g}" for rate in each.rates)
    return each.name, f"{each.parameters:,}", rates, about(each.seconds)
