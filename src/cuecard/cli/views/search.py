"""How a search shows itself while it runs, and what it led to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console

from cuecard.cli.views.tables import print_table, say
from cuecard.cli.views.usage_line import predict_command
from cuecard.evaluation.report import interval_text
from cuecard.runs.search.judge import judge_line
from cuecard.search.searchers import left_out
from cuecard.validation_text import counted

if TYPE_CHECKING:
    from cuecard.runs.search.outcome import SearchOutcome
    from cuecard.search.costs import SearchCosts


# Validation rows, below which a row is more than 5 points.
_FEW = 20


def search_text(event: dict[str, Any]) -> str | None:
    """An event of a search in a line; None for one that is not shown."""
    match event["event"]:
        case "start":
            rows = counted(event["rows"], "validation row")
            few = "; so few tell only large differences" if event["rows"] < _FEW else ""
            return f"the prompt as it is: {event['validation']:.3f} on {rows}{few}"
        case "round":
            return (
                f"round {event['round']}: {counted(event['candidates'], 'new candidate')}, best "
                f"{event['best']:.3f} ({event['origin']}); {event['calls']:,} calls, "
                f"{event['tokens']:,} tokens"
            )
        case "searchers":
            return f"searchers: {', '.join(event['names'])}"
        case "left out":
            return f"left out: {left_out(event['searchers'])}"
        case "turn":
            return f"next: {event['searcher']}"
        case "reflection":
            written = counted(event["written"], "instruction")
            return f"reflected on failures: {event['passed']} of {written} passed the test"
        case "judge" if "spearman" in event:
            return (
                f"{event['name']} agrees with people: Spearman {event['spearman']:.2f}, "
                f"{event['pairs']:.0%} of pairs in the same order, "
                f"{counted(event['rows'], 'answer')}"
            )
        case "unusable":
            return (
                f"the LLM wrote nothing that can be used, in {counted(event['answers'], 'answer')}:"
                f" {event['example']!r}"
            )
        case "retry":
            return f"{event['why']}; trying again in {event['seconds']:.0f} s"
        case "final":
            return f"{event['origin']}: {event['validation']:.3f} on validation rows"
    return None


def print_search(outcome: SearchOutcome, out: Console) -> None:
    """Print the prompt that was found, its gain, and what the search took."""
    say(out, "")
    say(out, outcome.heading)
    say(out, outcome.template)
    if outcome.beside:
        say(out, f"({outcome.beside})")
    if outcome.doubt:
        say(out, outcome.doubt)
    say(out, "")
    if outcome.tested:
        rows = [(one.name, f"{one.score:.3f}", one.ci95) for one in outcome.tested]
        if outcome.gain is not None:
            rows.append(("gain", f"{outcome.gain.value:+.3f}", interval_text(outcome.gain.ci95)))
        columns = ("on the test rows", outcome.metric, "95% interval")
        print_table(out, columns, rows, left=columns[:1], bold=(len(rows) - 1,))
    say(out, outcome.found.effort)
    if outcome.judge is not None:
        say(out, judge_line(outcome.judge))
    folder = outcome.recipe.folder
    kept = "prompt.txt" if outcome.prompt is None else "prompt"
    say(out, f"prompt  {folder}/{kept}")
    say(out, f"report  {folder}/search.md")
    if outcome.prompt is not None:
        say(out, predict_command(outcome.prompt.spec, folder))


def print_costs(costs: SearchCosts, out: Console) -> None:
    """Print what a search would take, part by part."""
    rows = [
        (part.name, part.what if part.counted else f"{part.what}, not counted", *part.most.cells)
        for part in costs.parts
    ]
    rows.append(("in all", "at most", *costs.most.cells))
    columns = ("part", "what", "calls", "tokens", "dollars")
    print_table(out, columns, rows, left=columns[:2], bold=(len(rows) - 1,))
    rounds = f"rounds: {costs.rounds:,} at most"
    if costs.paid_rounds < costs.rounds:
        paid = f"at least {costs.paid_rounds:,}" if costs.paid_rounds else "a part of the first one"
        rounds += f"; the budget pays for {paid}, for more where candidates drop out early"
    say(out, rounds)
    if costs.budget.seconds is not None:
        say(out, f"time: {costs.budget.seconds / 60:,.1f} minutes, a fifth of it for the finals")
    if costs.judge is not None:
        say(out, f"judge: beside all this, {costs.judge} at most (--judge-budget)")
