"""What a run led to, as text and as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from cuecard.evaluation.report import plain, rich_table
from cuecard.recipe import Outcome


def print_outcome(outcome: Outcome, out: Console) -> None:
    """Print the table of prompts, the gains, and where everything lies."""
    run, proof = outcome.run, outcome.proof
    if proof is not None:
        out.print()
        out.print(rich_table(proof.rows, columns=proof.columns))
        for note in proof.notes:
            out.print(note, markup=False)
    elif run.test is not None:
        out.print(f"{run.test.primary} {run.test.score:.3f} on {len(run.test.records):,} test rows")
    else:
        seen = run.validation
        shown = (
            f"loss {seen.loss:.4f}" if seen.accuracy is None else f"accuracy {seen.accuracy:.3f}"
        )
        out.print(f"validation {shown}; there were no test rows")
    out.print(f"\nprompt  {run.folder}/prompt  ({run.prompt.nbytes:,} bytes)", markup=False)
    out.print(f'use it  cuecard predict {run.folder} "some text"', markup=False)


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
    if run.test is not None:
        found["test"] = run.test.to_dict()
    if outcome.proof is not None:
        found["report"] = outcome.proof.report
    return dict(plain(found))
