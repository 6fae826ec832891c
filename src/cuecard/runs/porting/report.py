"""A port's report: every new prompt beside the old one and beside none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cuecard.artifacts.lineage import PortedFrom
from cuecard.evaluation.evaluate import gain
from cuecard.evaluation.report import plain, within, write_cells, write_json
from cuecard.metrics.margin import FEWEST
from cuecard.runs.porting.recipe import PortRecipe
from cuecard.training.porting.outcome import PortedPrompt

COLUMNS = ("prompt", "method", "agreement", "without a prompt", "same answers", "KL")
SCORES = ("old score", "new score", "new - old")


def report_of(ported: Sequence[PortedPrompt], recipe: PortRecipe) -> dict[str, Any]:
    """What `report.json` says, but for a digest of what the run depends on."""
    return {
        "backbone": recipe.backbone,
        "prompts": [dict(plain(_facts(each))) for each in ported],
        "tolerance": recipe.porting.tolerance,
        "margin": recipe.porting.margin,
        "passed": all(each.passed for each in ported),
    }


def _facts(each: PortedPrompt) -> dict[str, Any]:
    run, task, manifest = each.run, each.task, each.prompt.manifest
    return {
        "name": each.source.name,
        "ported_from": each.source.origin.model_dump(mode="json"),
        "digest": each.prompt.digest,
        "bytes": each.prompt.nbytes,
        "method": manifest.method,
        "slot": manifest.slot,
        "length": each.prompt.injection().length,
        "learnt": each.learnt,
        "inputs": {
            "train": len(task.train),
            "validation": len(task.validation),
            "held_out": len(task.test),
            "left_out": each.left_out,
            "labelled": len(each.source.labelled),
        },
        "fidelity": each.fidelity,
        "untrained": each.untrained,
        **_scores(each),
        "gates": list(each.gates),
        "passed": each.passed,
        "lr": run.lr,
        "steps": run.steps,
        "best_step": run.best_step,
        "cpu_seconds": run.cpu_seconds,
        "seconds": run.seconds,
    }


def _scores(each: PortedPrompt) -> dict[str, Any]:
    old, new = each.old_score, each.new_score
    if old is None or new is None:
        return {}
    apart = gain(new, old)
    return {
        "metric": new.primary,
        "old_score": {"value": old.score, "ci95": old.ci95.get(old.primary)},
        "new_score": {"value": new.score, "ci95": new.ci95.get(new.primary)},
        "difference": {"value": apart.value, "ci95": apart.ci95},
    }


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """`report.json` and `report.md` in a folder.

    Raises:
        FileError: they cannot be written.
    """
    write_cells(
        folder / "report.md",
        title=f"Ported to {report['backbone']}",
        rows=cells(report),
        columns=columns(report),
        notes=notes(report),
    )
    write_json(report, folder / "report.json")


def columns(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The table's."""
    scored = any("difference" in each for each in report["prompts"])
    return (*COLUMNS, *(SCORES if scored else ()), "passed")


def cells(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table's rows as texts."""
    scored = len(columns(report)) > len(COLUMNS) + 1
    return [_cells(each, scored=scored) for each in report["prompts"]]


def _cells(each: Mapping[str, Any], *, scored: bool) -> tuple[str, ...]:
    found, bare = each["fidelity"], each["untrained"]
    scores: tuple[str, ...] = ()
    if scored and "difference" in each:
        apart = each["difference"]
        values = (f"{each[side]['value']:.3f}" for side in ("old_score", "new_score"))
        scores = (*values, within(apart["value"], apart["ci95"], "+.3f"))
    elif scored:
        scores = ("", "", "")
    return (
        each["name"],
        each["method"],
        within(found["agreement"], found["agreement_ci95"]),
        f"{bare['agreement']:.3f}",
        f"{found['same']:.3f}",
        "" if found["kl"] is None else f"{found['kl']:.4f}",
        *scores,
        "yes" if each["passed"] else "no",
    )


def notes(report: Mapping[str, Any]) -> Sequence[str]:
    """What the table does not say, in sentences."""
    return [note for each in report["prompts"] for note in _notes(each)]


def _notes(each: Mapping[str, Any]) -> list[str]:
    name, inputs = each["name"], each["inputs"]
    scored = ""
    if "metric" in each:
        scored = f", the score is {each['metric']} of {inputs['labelled']:,} labelled rows"
    found = [
        f"{name}: from {PortedFrom.model_validate(each['ported_from'])}; learnt its "
        f"{each['learnt']} on {inputs['train']:,} inputs, selected on "
        f"{inputs['validation']:,}; agreement, same answers and KL are of {inputs['held_out']:,} "
        f"held-out ones{scored}."
    ]
    return [*found, *(f"{name}: {_refused(gate)}" for gate in each["gates"] if not gate["passed"])]


def _refused(gate: Mapping[str, Any]) -> str:
    """Why a condition is not met."""
    if gate["rows"] < FEWEST:
        return (
            f"not shown to be no worse: {gate['rows']:,} rows decide nothing on its "
            f"{gate['name']}, {FEWEST} or more do."
        )
    low, high = gate["ci95"]
    if gate["name"] == "agreement":
        return (
            f"not shown to agree: the agreement may be {low:.3f}, and {gate['limit']:.3f} is asked "
            "for (--tolerance). More inputs, more steps or more positions may help."
        )
    return (
        f"not shown to be no worse: the score may be {high:.3f} lower, and {gate['limit']:g} is "
        "allowed (--margin). More labelled rows narrow the interval."
    )
