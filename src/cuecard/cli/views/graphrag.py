"""How a tuning of GraphRAG's prompts shows itself, and what it led to."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cuecard.cli.views.tables import print_table, say, say_line
from cuecard.validation_text import counted

if TYPE_CHECKING:
    from cuecard.graphrag.selection import ChunkSample, Coverage
    from cuecard.runs.graphrag.outcome import TuneCosts, TuneOutcome

_MOST_TOLD = 10


def tune_text(event: dict[str, Any]) -> str:
    """An event of a tuning in a line."""
    match event["event"]:
        case "profile":
            return f"domain: {event['domain']}; language: {event['language']}"
        case "types":
            return f"types: {', '.join(event['types'])}"
        case "examples":
            return f"examples: {event['examples']}"
    wrote = f" ({event['answer']!r})" if event["answer"] else ""
    return f"{event['about']}: {event['what']}{wrote}"


def print_tune_costs(costs: TuneCosts, out: Console) -> None:
    """Print what a tuning would take, part by part."""
    _say_sample(costs.sample, costs.tokens, out)
    rows = [(part.name, part.what, *part.most.cells) for part in costs.parts]
    rows.append(("in all", "at most", *costs.most.cells))
    columns = ("part", "what", "calls", "tokens", "dollars")
    print_table(out, columns, rows, left=columns[:2], bold=(len(rows) - 1,))
    if (limit := costs.budget.allows(costs.most)) is not None:
        say(out, f"the budget of {costs.budget.text(limit)} may not last for all of it")


def _say_sample(sample: ChunkSample, tokens: str, out: Console) -> None:
    """Say which chunks were chosen, and how well they stand for the corpus."""
    say(out, coverage_text(sample.coverage, tokens))
    names = [each.name for each in sample.chunks]
    more = f"; and {len(names) - _MOST_TOLD:,} more" if len(names) > _MOST_TOLD else ""
    say(out, f"chosen: {'; '.join(names[:_MOST_TOLD])}{more}")


def coverage_text(coverage: Coverage, tokens: str) -> str:
    """How well chosen chunks stand for a corpus, in a sentence."""
    text = (
        f"{coverage.chunks:,} of {counted(coverage.of, 'chunk')} ({coverage.tokens:.1%} of the "
        f"tokens, {tokens}), from {coverage.documents:,} of "
        f"{counted(coverage.of_documents, 'document')}"
    )
    if coverage.similarity is not None:
        text += f"; mean similarity of a chunk to the nearest chosen one {coverage.similarity:.2f}"
        text += f" ({coverage.by_chance:.2f} by chance)"
    return text


def print_tune(outcome: TuneOutcome, out: Console) -> None:
    """Print what was chosen, found and written, and what to do next."""
    tuned, recipe = outcome.tuned, outcome.recipe
    say(out, "")
    _say_sample(outcome.sample, outcome.tokens, out)
    left_out = outcome.corpus.skipped
    for each in left_out[:_MOST_TOLD]:
        say(out, f"left out: {each.name}: {each.reason}")
    if len(left_out) > _MOST_TOLD:
        say(out, f"left out: {len(left_out) - _MOST_TOLD:,} more, see tune.json")
    columns = ("type", "named by", "entities in examples")
    rows = [
        (
            each.name,
            "you" if each.given else counted(each.answers, "answer"),
            str(each.entities),
        )
        for each in tuned.types
    ]
    print_table(out, columns, rows, left=columns[:2])
    examples = f"{outcome.shown} of {counted(len(tuned.sources.examples), 'example')}"
    repaired = f", {tuned.repaired} after a second attempt" if tuned.repaired else ""
    problems = counted(len(tuned.problems), "problem") if tuned.problems else "no problems"
    say(out, f"{examples} in the prompt; {counted(tuned.asked, 'answer')}{repaired}; {problems}")
    say(out, f"spent: {outcome.spent.text}")
    for path in outcome.files:
        say_line(out, f"prompt  {path}")
    for path, copy in outcome.backups.items():
        say_line(out, f"before  {copy}  (of {path.name})")
    say_line(out, f"report  {recipe.folder / 'tune.json'}")
    _say_next(outcome, out)


def _say_next(outcome: TuneOutcome, out: Console) -> None:
    recipe = outcome.recipe
    if recipe.apply:
        say_line(out, f"applied; cuecard graphrag validate --root {shlex.quote(str(recipe.root))}")
    elif outcome.settings:
        say(out, "to use them, run this again with --apply, or write into settings.yaml:")
        for name, value in outcome.settings.items():
            say_line(out, f"  {name}: {json.dumps(value, ensure_ascii=False)}")
