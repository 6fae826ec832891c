"""A recommendation as text, before and after a contest on the task's own rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from cuecard.cli.views.tables import print_facts, print_table, say, say_line
from cuecard.evaluation.measured import Measurement, Recommendation
from cuecard.evaluation.measured.ways import WAYS
from cuecard.evaluation.report import interval_text
from cuecard.tasks import Task
from cuecard.validation_text import counted

if TYPE_CHECKING:
    from cuecard.comparison.contest.runner import Ranked
    from cuecard.evaluation.measured.combined import CombinedEstimate
    from cuecard.runs.compare.measure import MeasuredAdvice

_POINTS = 100  # of 1
_SHOWN = 6  # ways, and scores of a measurement


def print_advice(
    found: Recommendation, task: Task, backbone: str, command: str, out: Console
) -> None:
    """Print what is advised, what is expected of the others, and what it rests on."""
    say(out, f"{found.way}: {WAYS[found.way].about}", "bold")
    if found.second is not None:
        say(out, f"or {found.second}: {WAYS[found.second].about}")
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


def print_measured(found: MeasuredAdvice, backbone: str, command: str, out: Console) -> None:
    """Print what is advised by both, and which figures are from the task's own rows."""
    contest, shipped = found.contest, found.shipped
    out.print()
    say(out, f"{found.way}: {WAYS[found.way].about}", "bold")
    facts = _facts(shipped, contest.task, backbone)
    rows = f"{len(contest.task.validation):,} validation rows, {found.seconds / 60:,.1f} minutes"
    print_facts(out, [*facts, ("measured", f"{rows}, {counted(found.steps, 'step')}")])
    out.print()
    heading = ("way", "points below the best", "on these rows", "elsewhere", "measurements there")
    first = found.estimates[:_SHOWN]
    shown = [each for each in found.estimates if each in first or each.here is not None]
    print_table(out, heading, [_combined(each) for each in shown], bold=(0,))
    say(
        out,
        "\nOn these rows: the score on validation rows, by which the ways were chosen. Elsewhere: "
        "points below the best by the shipped measurements alone.",
    )
    _print_contest(found, out)
    for caution in shipped.cautions:
        say(out, f"Note, of what was measured elsewhere: {caution}")
    say(out, f"Elsewhere alone, {shipped.way} would be advised. {shipped.basis}")
    if found.estimates and found.estimates[0].here is None:
        say(out, f"Note: {found.way} was not measured on these rows.")
    if found.trained is not None:
        say_line(out, f"\ntrained  {found.trained}")
    if contest.tested:
        say_line(out, f"\nreport   {found.folder}/compare.html")
    say_line(out, f"\nnext     {command}")


def _print_contest(found: MeasuredAdvice, out: Console) -> None:
    """Print what each contestant came to, and which ones there was no time for."""
    contest = found.contest
    if contest.tested:
        say(out, "\nMeasured on these rows:")
        heading = ("contestant", "validation", "test, asked once", "95% interval", "CPU-s")
        print_table(out, heading, [_tested(each, contest.metric) for each in contest.tested])
    out.print()
    for each in contest.ranked:
        if each.test is None:
            say(out, f"Left out: {each.standing.title} ({each.standing.left_out}).")
    if found.waiting:
        say(
            out,
            f"Not measured, as the time was over: {', '.join(found.waiting)}; the same command "
            "with more minutes goes on.",
        )


def _combined(each: CombinedEstimate) -> tuple[str, ...]:
    known = each.elsewhere
    return (
        each.way,
        f"{_POINTS * each.behind:.1f}",
        "-" if each.here is None else f"{each.here:.3f}",
        "-" if known is None else f"{_POINTS * known.behind:.1f}",
        "0" if known is None else f"{known.measured:,}",
    )


def _tested(each: Ranked, metric: str) -> tuple[str, ...]:
    standing, test = each.standing, each.test
    assert test is not None
    interval = test.ci95.get(metric)
    return (
        standing.title,
        "-" if standing.score is None else f"{standing.score:.3f}",
        f"{float(test.metrics[metric]):.3f}",
        "-" if interval is None else interval_text(interval),
        f"{standing.cpu_seconds:,.1f}",
    )


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
