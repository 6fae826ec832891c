"""A compilation's report: every length beside the full text and beside cheaper ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cuecard.evaluation.evaluate import Evaluation, gain
from cuecard.evaluation.report import plain, within, write_cells, write_json
from cuecard.runs.compiling.recipe import CompileRecipe
from cuecard.training.compiling.outcome import Compared, CompiledLength, CompileRun

COLUMNS = ("prompt", "positions", "KV bytes", "same answers", "agreement", "KL")
SCORES = ("score", "difference to the full text")


def report_of(run: CompileRun, recipe: CompileRecipe) -> dict[str, Any]:
    """What `report.json` says, but for a digest of what the run depends on."""
    text, full = run.text, run.full[0]
    rows = [full, *(row for each in run.lengths for row in each.rows), run.full[1]]
    kept = run.kept
    saved = text.length - kept.length
    return {
        "text": {
            "file": recipe.text,
            "sha256": text.digest,
            "tokens": text.length,
            "kv_bytes": text.length * text.position_bytes,
        },
        "positions": {
            "slot": text.slot,
            "before": len(text.before),
            "of_prompt": [len(text.before), len(text.before) + kept.length - 1],
            "input_goes_on_at": len(text.before) + kept.length,
        },
        "backbone": text.backbone.name,
        "inputs": {
            "train": len(run.task.train),
            "validation": len(run.task.validation),
            "held_out": len(run.task.test),
            "left_out": run.left_out,
            "labelled": run.evaluated,
        },
        "metric": None if full.score is None else full.score.primary,
        "rows": [_row(row, full.score, text.position_bytes) for row in rows],
        "lengths": [_length(each) for each in run.lengths],
        "tolerance": recipe.compiling.tolerance,
        "passed": run.passed,
        "kept": {
            "length": kept.length,
            "digest": run.prompt.digest,
            "bytes": run.prompt.nbytes,
            "saved_positions": saved,
            "saved_kv_bytes": saved * text.position_bytes,
            "times_fewer": text.length / kept.length,
        },
    }


def _length(each: CompiledLength) -> dict[str, Any]:
    run = each.run
    return {
        "length": each.length,
        "validation_agreement": each.agreement,
        "validation_loss": run.validation.loss,
        "steps": run.steps,
        "best_step": run.best_step,
        "cpu_seconds": run.cpu_seconds,
        "seconds": run.seconds,
    }


def _row(row: Compared, full: Evaluation | None, position_bytes: int) -> dict[str, Any]:
    found = row.fidelity
    told: dict[str, Any] = {
        "prompt": row.name,
        "length": row.length,
        "kv_bytes": row.length * position_bytes,
        "same": found.same,
        "same_ci95": found.ci95,
        "agreement": found.agreement,
        "agreement_ci95": found.agreement_ci95,
        "kl": found.kl,
    }
    if row.score is None or full is None:
        return dict(plain(told))
    told |= {"score": row.score.score, "score_ci95": row.score.ci95.get(row.score.primary)}
    if row.score is not full:
        apart = gain(row.score, full)
        told["difference"] = {"value": apart.value, "ci95": apart.ci95}
    return dict(plain(told))


def write_report(report: Mapping[str, Any], folder: Path, *, title: str) -> None:
    """`report.json` and `report.md` in a folder.

    Raises:
        FileError: they cannot be written.
    """
    write_cells(
        folder / "report.md",
        title=f"Compiled: {title}",
        rows=cells(report),
        columns=columns(report),
        notes=notes(report),
    )
    write_json(report, folder / "report.json")


def columns(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The table's."""
    return COLUMNS if report["metric"] is None else (*COLUMNS, *SCORES)


def cells(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table's rows as texts."""
    return [_cells(row, scored=report["metric"] is not None) for row in report["rows"]]


def _cells(row: Mapping[str, Any], *, scored: bool) -> tuple[str, ...]:
    told = (
        row["prompt"],
        f"{row['length']:,}",
        f"{row['kv_bytes']:,}",
        within(row["same"], row["same_ci95"]),
        f"{row['agreement']:.3f}",
        f"{row['kl']:.4f}",
    )
    if not scored:
        return told
    apart = row.get("difference")
    gained = "" if apart is None else within(apart["value"], apart["ci95"], "+.3f")
    return (*told, f"{row['score']:.3f}", gained)


def notes(report: Mapping[str, Any]) -> Sequence[str]:
    """What the table does not say, in sentences."""
    kept, text, inputs = report["kept"], report["text"], report["inputs"]
    place = report["positions"]
    first, last = place["of_prompt"]
    found = [
        f"The text has {text['tokens']:,} tokens (SHA-256 {text['sha256']}).",
        f"Kept: {kept['length']:,} positions, {kept['times_fewer']:.1f} times fewer; a request "
        f"saves {kept['saved_positions']:,} positions and {kept['saved_kv_bytes']:,} bytes of keys "
        "and values.",
        f"The prompt takes the positions {first:,} to {last:,}; a request goes on at "
        f"{place['input_goes_on_at']:,}.",
        f"Same answers, agreement and KL are of {inputs['held_out']:,} held-out inputs; learnt "
        f"from {inputs['train']:,}, selected on {inputs['validation']:,}.",
    ]
    if report["metric"] is not None:
        found.append(f"The score is {report['metric']} of {inputs['labelled']:,} labelled rows.")
    if report["passed"] is False:
        found.append(
            f"Warning: no length is within the tolerance of {report['tolerance']:g}; the one that "
            "agrees most is kept. More inputs, more steps or more positions may help."
        )
    return found
