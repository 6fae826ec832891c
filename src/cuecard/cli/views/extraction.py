"""How runs that extract show themselves, and what they led to."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cuecard.cli.views.search import search_text
from cuecard.cli.views.tables import print_table, say, say_line
from cuecard.search.budget import Amount
from cuecard.validation_text import counted

if TYPE_CHECKING:
    from cuecard.graphrag.measuring.measure import FigureRow, MeasureReport, PromptMeasure
    from cuecard.runs.graphrag.dataset import ExtractionDataset
    from cuecard.runs.graphrag.outcome import OptimiseOutcome
    from cuecard.types import Interval

# Names of figures that a report shows in the terminal, in their order; all are in the JSON.
_SHOWN = (
    *("entities f1, strict", "entities precision, strict", "entities recall, strict"),
    *("entities f1, relaxed", "relations f1, strict", "relations f1, relaxed"),
    *("conformance", "empty", "grounding", "coverage", "agreement"),
)
_MOST_FAULTS = 3


def answers_text(event: dict[str, Any]) -> str | None:
    """How many texts were answered, in a line; None for other events."""
    if event["event"] != "answers":
        return None
    run = f", run {event['run']}" if event["run"] > 1 else ""
    return f"{event['prompt']}{run}: {event['done']:,} of {event['of']:,} texts"


def optimise_text(event: dict[str, Any]) -> str | None:
    """An event of a search for a prompt in a line; None for one that is not shown."""
    return answers_text(event) or search_text(event)


def print_measure(report: MeasureReport, folder: Path, out: Console) -> None:
    """Print one table with all prompts, and what answers had wrong."""
    say(out, "")
    print_figures(report, out)
    say(out, f"95% intervals; differences are paired. Spent: {report.spent.text}")
    say_line(out, f"report  {folder}/measure.json")


def print_figures(report: MeasureReport, out: Console) -> None:
    """Print the table alone, and what answers had wrong."""
    measures = report.measures
    first, *others = (each.name for each in measures)
    columns = ("", first, *(part for name in others for part in (name, f"{name} - {first}")))
    shown = report.rows(_SHOWN)
    rows = [_cells(row) for row in shown]
    rows += [_plain_row(name, measures, value) for name, value in _PLAIN.items()]
    texts = report.texts
    documents = len({each.document for each in texts.texts})
    where = f"{counted(len(texts.texts), 'text')} of {counted(documents, 'document')}"
    print_table(out, columns, rows, title=f"on {texts.name}: {where}")
    for each in measures:
        _say_faults(each, out)


def print_optimise(outcome: OptimiseOutcome, out: Console) -> None:
    """Print whether something better was found, and both prompts on the test documents."""
    found = outcome.found
    say(out, "")
    if found.better:
        kept, start = found.validation(found.best), found.validation(found.start)
        what = f"{found.best.origin}: {kept:.3f}, was {start:.3f} (validation, {outcome.objective})"
        say(out, what)
    else:
        say(out, "No candidate was better than the prompt as it was, which is kept.")
    if outcome.test is None:
        say(out, "The budget did not last for the test documents.")
    else:
        print_figures(outcome.test, out)
    say(out, found.effort)
    say_line(out, f"prompt  {outcome.folder}/extract_graph.txt")
    say_line(out, f"report  {outcome.folder}/optimise.json")


def print_dataset(found: ExtractionDataset, out: Console) -> None:
    """Print where the rows are, what was left out, and how a prompt is trained on them."""
    say(out, f"{counted(found.rows, 'row')}; spent: {found.spent.text}")
    for what, count in found.left_out.items():
        say(out, f"left out: {what} ({count})")
    say_line(out, f"rows   {found.path}")
    data = shlex.quote(str(found.path))
    fields = "--label-field target --group-field document"
    say_line(out, f"train  cuecard train {data} --kind text-to-text {fields}")


_PLAIN = {
    "tokens read a text": lambda each: f"{each.usage.prompt_tokens / len(each.answers):,.0f}",
    "tokens written a text": lambda each: (
        f"{each.usage.completion_tokens / len(each.answers):,.0f}"
    ),
    "dollars a text": lambda each: f"{each.dollars:.6f}",
}


def _cells(row: FigureRow) -> tuple[str, ...]:
    (value, interval), *others = row.values
    found = [row.name, _value(value, interval)]
    for (other, own), (gain, paired) in zip(others, row.gains, strict=True):
        found += [_value(other, own), _gain(gain, paired)]
    return tuple(found)


def _plain_row(name: str, measures: tuple[PromptMeasure, ...], value: Any) -> tuple[str, ...]:
    first, *others = measures
    return (name, value(first), *(x for each in others for x in (value(each), "")))


def _value(value: float, interval: Interval) -> str:
    return f"{value:.3f} ({interval.low:.2f}-{interval.high:.2f})"


def _gain(value: float, interval: Interval) -> str:
    return f"{value:+.3f} ({interval.low:+.2f} to {interval.high:+.2f})"


def _say_faults(measure: PromptMeasure, out: Console) -> None:
    """What was wrong with a prompt's answers most often."""
    told = [f"{what} ({count})" for what, count in measure.signals.faults[:_MOST_FAULTS]]
    if measure.cut:
        told.append(f"{counted(measure.cut, 'answer')} cut at --max-tokens")
    if told:
        say(out, f"{measure.name}: {'; '.join(told)}")


def print_extraction_costs(costs: Mapping[str, Amount], out: Console) -> None:
    """Print what each part takes at most."""
    parts = {**costs, "in all, at most": sum(costs.values(), Amount())}
    rows = [(name, *each.cells) for name, each in parts.items()]
    print_table(out, ("", "calls", "tokens", "dollars"), rows, bold=(len(rows) - 1,))
