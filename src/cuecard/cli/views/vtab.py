"""The protocol's scores as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from cuecard.cli.views.tables import print_table, say
from cuecard.comparison.vtab_scores import mean_over_groups, mean_over_tasks
from cuecard.evaluation.report import interval_text
from cuecard.training.sweeps.trials import settings_text
from cuecard.validation_text import counted

if TYPE_CHECKING:
    from cuecard.runs.vtab_recipe import VtabOutcome

_COLUMNS = ("data", "group", "chosen", "validation", "accuracy", "95% interval", "test rows")


def print_vtab(outcome: VtabOutcome, out: Console) -> None:
    """Print every data set's score, both means, and where everything lies."""
    scores, plan = outcome.scores, outcome.recipe
    rows = [
        (
            one.name,
            one.group,
            settings_text(one.settings),
            f"{one.validation:.3f}",
            f"{one.accuracy:.3f}",
            interval_text(one.ci95),
            f"{len(one.right[0]):,} of {one.test_rows:,}",
        )
        for one in scores
    ]
    means = {
        "mean over data": mean_over_tasks(scores),
        "mean over groups": mean_over_groups(scores),
    }
    rows += [
        (name, "", "", "", f"{mean.accuracy:.3f}", interval_text(mean.ci95), "")
        for name, mean in means.items()
    ]
    print_table(out, _COLUMNS, rows, left=_COLUMNS[:3], bold=(len(rows) - 2, len(rows) - 1))
    asked, tried = plan.protocol, len(scores[0].trials)
    say(
        out,
        f"{asked.examples:,} examples each: {counted(tried, 'setting')} tried on "
        f"{asked.selection_rows:,}, then trained on all with {counted(len(asked.seeds), 'seed')}, "
        "then tested once",
    )
    say(out, f"report  {plan.folder}/vtab.json")
