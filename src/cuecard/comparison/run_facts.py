"""What every report says of a run, whatever it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cuecard.backbones.quantization.weights import weight_count
from cuecard.evaluation.advice import few_rows, few_shots
from cuecard.evaluation.evaluate import Evaluation
from cuecard.evaluation.seeds import ENTRY, kept_text, seed_notes
from cuecard.tasks import SplitReport, Task
from cuecard.tasks.kinds import KINDS
from cuecard.training.run import FinishedRun, Run
from cuecard.types import Backbone


def run_facts(backbone: Backbone, task: Task, run: Run) -> dict[str, Any]:
    """Rows, bytes, seconds, steps, and what identifies the run."""
    return {
        "kind": task.spec.kind,
        "test_rows": len(task.test),
        "train_rows": len(task.train),
        "validation_rows": len(task.validation),
        "prompt_bytes": run.prompt.nbytes,
        "trained_parameters": run.trained,
        "parameters": weight_count(backbone.model) + run.trained,
        "train_cpu_seconds": run.cpu_seconds,
        "train_seconds": run.seconds,
        "steps": run.steps,
        "best_step": run.best_step,
        "lr": run.lr,
        "seed": run.prompt.manifest.seed,
        **({} if (seeds := seeds_of(run)) is None else {ENTRY: seeds}),
        "backbone": backbone.name,
        "fingerprint": backbone.fingerprint,
        "digest": run.prompt.digest,
        "data": task.report,
        "alarm": run.alarm,
    }


def seeds_of(run: FinishedRun) -> Mapping[str, Any] | None:
    """What the seeds of the run's recipe scored; None for a run of one seed."""
    found: Any = run.prompt.manifest.metrics.get(ENTRY)
    return found if isinstance(found, Mapping) else None


def numbers(found: Evaluation, metric: str) -> dict[str, Any]:
    """An evaluation's metrics and intervals, that of `metric` by itself too."""
    kept = {name: value for name, value in found.metrics.items() if name != "confusion"}
    return kept | {
        "ci95": found.ci95.get(metric),
        "intervals": found.ci95,
        "tokens_per_request": found.tokens_per_request,
        "seconds": found.seconds,
    }


def rows_note(facts: Mapping[str, Any]) -> str:
    """On how many rows it was tested and chosen, as a sentence."""
    said = (
        f"{facts['test_rows']:,} test rows, scored once; every choice was made on "
        f"{facts['validation_rows']:,} validation rows."
    )
    report: SplitReport = facts["data"]
    stems = "ROUGE-L is of words as they are, without stemming"
    few = few_rows(facts["test_rows"], right_or_wrong=KINDS[facts["kind"]].right_or_wrong)
    more = [few, report.grouping, few_shots(report)]
    more.append(stems if facts.get("metric") == "rouge_l" else "")
    return " ".join([said, *(f"{text[0].upper()}{text[1:]}." for text in more if text)])


def seconds(spent: float) -> str:
    """Seconds in a sentence: with a decimal where they are few."""
    return f"{spent:,.0f}" if spent >= 10 else f"{spent:.1f}"


def training_notes(facts: Mapping[str, Any], task: Task) -> list[str]:
    """What the training took, and what its seeds tell, as sentences."""
    seeds = facts.get(ENTRY)
    each, seed = "", f"one seed, {facts['seed']}: others were not tested"
    if seeds is not None:
        count = len(seeds["seeds"])
        each, seed = f" with each of {count} seeds", f"kept: {kept_text(seeds)}"
    took = (
        f"Trained in {facts['steps']} steps{each}, {seconds(facts['train_cpu_seconds'])} "
        f"CPU-seconds; best at step {facts['best_step']}; learning rate {facts['lr']:.3g}; {seed}."
    )
    return [took, *(seed_notes(seeds, task.spec.task_kind.headings[0]) if seeds else ())]
