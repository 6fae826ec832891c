"""What a run led to, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from cuecard.cli.views.evaluation import in_words
from cuecard.cli.views.tables import print_table, say, say_line
from cuecard.cli.views.usage_line import predict_command
from cuecard.comparison.run_facts import seeds_of
from cuecard.evaluation.advice import few_rows, few_shots
from cuecard.evaluation.report import plain
from cuecard.evaluation.seeds import ENTRY, seed_notes, seed_table
from cuecard.runs.recipe import Outcome
from cuecard.training import LoraRun
from cuecard.training.race.lora_found import EVENT


def print_outcome(outcome: Outcome, out: Console) -> None:
    """Print the table of prompts, the gains, and where everything lies."""
    run, proof = outcome.run, outcome.proof
    if proof is not None:
        out.print()
        rows = [row.cells() for row in proof.rows]
        print_table(out, proof.columns, rows, bold=(len(rows) - 1,))
        for note in proof.notes:
            say(out, note)
    elif run.test is not None:
        say(out, in_words(run.test, "test row"))
        if few := few_rows(
            len(run.test.records), right_or_wrong=outcome.task.spec.task_kind.right_or_wrong
        ):
            say(out, f"Note: {few}")
        if drawn := few_shots(outcome.task.report):
            say(out, f"Note: {drawn}")
    else:
        seen = run.validation
        shown = (
            f"loss {seen.loss:.4f}" if seen.accuracy is None else f"accuracy {seen.accuracy:.3f}"
        )
        say(out, f"validation {shown}; there were no test rows")
    if outcome.lora is not None and proof is None:  # with a comparison it is among its notes
        say(out, outcome.lora.text)
    seeds = seeds_of(run)
    if seeds is not None:
        _print_seeds(seeds, outcome, out)
    if isinstance(run, LoraRun):
        say_line(out, f"\nadapter {run.folder}/adapter  ({run.trained:,} numbers)")
    else:
        say_line(out, f"\nprompt  {run.folder}/prompt  ({run.prompt.nbytes:,} bytes)")
    assert run.folder is not None
    say_line(out, f"use it  {predict_command(outcome.task.spec, run.folder)}")


def _print_seeds(seeds: Mapping[str, Any], outcome: Outcome, out: Console) -> None:
    heading = outcome.task.spec.task_kind.headings[0]
    columns, rows = seed_table(seeds, heading)
    bold = [place for place, row in enumerate(rows) if row[-1]]
    out.print()
    print_table(out, columns, rows, bold=bold)
    if outcome.proof is None:  # with a comparison they are among its notes
        for note in seed_notes(seeds, heading):
            say(out, note)


def summary(outcome: Outcome) -> dict[str, Any]:
    """The same as one JSON object."""
    run = outcome.run
    found: dict[str, Any] = {
        "event": "result",
        "folder": run.folder,
        "digest": run.prompt.digest,
        "prompt_bytes": run.prompt.nbytes,
        "lr": run.lr,
        "steps": run.steps,
        "best_step": run.best_step,
        "validation": run.validation,
        "alarm": run.alarm,
    }
    if (seeds := seeds_of(run)) is not None:
        found[ENTRY] = seeds
    if outcome.lora is not None:
        found[EVENT] = outcome.lora
    if isinstance(run, LoraRun):
        found |= {"adapter": run.adapter.digest, "trained": run.trained}
    if run.test is not None:
        found["test"] = run.test.to_dict()
    if outcome.proof is not None:
        found["report"] = outcome.proof.report
    return dict(plain(found))
