"""A recommendation as text."""

from __future__ import annotations

from rich.console import Console

from cuecard.cli.views.tables import print_facts, print_table, say, say_line
from cuecard.evaluation.measured import Measurement, Recommendation
from cuecard.evaluation.measured.ways import WAYS
from cuecard.tasks import Task
from cuecard.validation_text import counted

_POINTS = 100  # of 1
_SHOWN = 6  # ways, and scores of a measurement


def print_advice(
    found: Recommendation, task: Task, backbone: str, command: str, out: Console
) -> None:
    """Print what is advised, what is expected of the others, and what it rests on."""
    say(out, f"{found.way}: {WAYS[found.way].about}", "bold")
    print_facts(out, _facts(found, task, backbone))
    if found.expected:
        out.print()
        rows = [
            (one.way, f"{_POINTS * one.behind:.1f}", f"{one.measured:,}")
            for one in found.expected[:_SHOWN]
        ]
        print_table(out, ("way", "points below the best", "measurements"), rows, bold=(0,))
        say(out, "\nThe nearest of them:")
        for each in found.nearest:
            say(out, f"  {_measured(each)}")
    out.print()
    for caution in found.cautions:
        say(out, f"Note: {caution}")
    say(out, found.basis)
    say_line(out, f"\nnext     {command}")


def _facts(found: Recommendation, task: Task, backbone: str) -> list[tuple[str, str]]:
    situation = found.situation
    rows = counted(len(task.train), "training row")
    labels = f", {counted(len(task.spec.labels), 'label')}" if task.spec.labels else ""
    words = situation and situation.words
    length = f", {words:,.0f} words each" if words else ""
    weights = situation and situation.parameters
    size = f", {weights / 1e6:,.0f} million weights" if weights else ""
    facts = [("data", f"{rows}{labels}{length}"), ("backbone", f"{backbone}{size}")]
    if situation is not None and situation.budget is not None:
        facts.append(("budget", f"{situation.budget:,.0f} s of CPU time"))
    return facts


def _measured(each: Measurement) -> str:
    best = sorted(each.scores.items(), key=lambda item: -item[1])[:_SHOWN]
    scores = ", ".join(f"{way} {score:.3f}" for way, score in best)
    budget = each.situation.budget
    time = "" if budget is None else f", {budget:,.0f} s"
    return f"{each.task} ({each.situation.rows:,} rows, {each.backbone}{time}): {scores}"
