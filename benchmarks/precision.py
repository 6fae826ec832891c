"""What a backbone's precision costs, and a late prompt: `make bench-precision`.

Every form trains prompts from the same seeds on the same reviews. Steps are timed with the forms
taking turns in one process; peak memory is taken in a process of its own per form. Everything goes
to benchmarks/results/precision.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from scipy.stats import t as student

from benchmarks.machine import alternate, machine, versions
from benchmarks.memory import peak_bytes, touch
from benchmarks.places import ROOT
from benchmarks.review_task import review_task
from benchmarks.tables import TABLES
from benchmarks.training.contestants import Ours
from cuecard import PromptTuning, TrainConfig, load_backbone, train
from cuecard.backbones.quantization.forms import Precision, Quantize
from cuecard.backbones.quantization.weights import weight_bytes
from cuecard.tasks import batches_by_length, draw_rows
from cuecard.types import Backbone, Slot

FORMS: dict[str, tuple[Precision, Quantize, Slot]] = {
    "fp32": ("fp32", "none", "prefix"),
    "bf16": ("bf16", "none", "prefix"),
    "int8": ("bf16", "int8", "prefix"),
    "int4": ("bf16", "int4", "prefix"),
    "bf16 late": ("bf16", "none", "suffix"),
}
ROWS, LENGTH, BATCHES, SEEN = 8, 20, 8, 256


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the forms and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="smollm2-135m-instruct")
    parser.add_argument("--reviews", help="labelled rows; the catalogue's reviews by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7, help="kept steps when timing")
    parser.add_argument("--forms", default=",".join(FORMS), help="fp32 is always measured")
    parser.add_argument("--out", type=Path, default=TABLES["precision"].results)
    parser.add_argument("--peak", metavar="FORM", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.peak:
        backbone = _load(options.peak, options)
        touch(backbone.model)
        print(peak_bytes(_steps(options.peak, backbone, options)))
        return 0
    names = [name for name in FORMS if name == "fp32" or name in options.forms.split(",")]
    backbones = {name: _load(name, options) for name in names}
    found = {name: _quality(name, backbones[name], options) for name in names}
    taken = alternate({n: _steps(n, b, options) for n, b in backbones.items()}, options.rounds)
    about = {"machine": machine(), "versions": versions()}
    for name, result in found.items():
        for score in ("loss", "accuracy"):
            pairs = zip(result["runs"], found["fp32"]["runs"], strict=True)
            differences = [run[score] - plain[score] for run, plain in pairs]
            result[score] = interval([run[score] for run in result["runs"]])
            result[f"{score}_minus_fp32"] = interval(differences)
        result |= taken[name] | about
        result["weight_bytes"] = weight_bytes(backbones[name].model)
        result["peak_bytes"] = _peak(name, options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(list(found.values()), indent=2) + "\n")
    print(f"wrote {options.out}")
    return 0


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, and half the 95% interval's width (Student's t); None for a single value."""
    count = len(values)
    if count < 2:
        return {"mean": values[0], "half_width": None}
    wide = float(student.ppf(0.975, count - 1)) * stdev(values) / math.sqrt(count)
    return {"mean": mean(values), "half_width": wide}


def _quality(name: str, backbone: Backbone, options: argparse.Namespace) -> dict[str, Any]:
    """Prompts trained on this form, a run per seed."""
    task = review_task(options.reviews, 0)
    # The test rows stay unread: nothing is proved here that they should be spent on.
    task = replace(task, validation=draw_rows(task.validation, SEEN, "precision"), test=())
    runs = []
    for seed in range(options.seeds):
        config = TrainConfig(
            steps=options.steps, batch_rows=ROWS, eval_every=options.steps, seed=seed
        )
        # Each seed with vectors of its own: a text's start would be the same for all.
        method = PromptTuning(length=LENGTH, init="vocabulary", slot=FORMS[name][2])
        run = train(backbone, task, method, config)
        seen = run.validation
        runs.append({"seed": seed, "loss": seen.loss, "accuracy": seen.accuracy})
        print(
            f"{name}, seed {seed}: loss {seen.loss:.4f}, accuracy {seen.accuracy:.3f}", flush=True
        )
    return {
        "name": name,
        "backbone": backbone.name,
        "steps": options.steps,
        "seeds": list(range(options.seeds)),
        "validation_rows": len(task.validation),
        "runs": runs,
    }


def _load(name: str, options: argparse.Namespace) -> Backbone:
    dtype, quantize, _ = FORMS[name]
    return load_backbone(options.backbone, dtype=dtype, quantize=quantize)


def _steps(name: str, backbone: Backbone, options: argparse.Namespace) -> Callable[[], Any]:
    """A step that can be called again and again, batch after batch."""
    task, slot = review_task(options.reviews, 0), FORMS[name][2]
    rows = [task.spec.encode(record, backbone.tokenizer, slot) for record in task.train]
    order = batches_by_length([len(row.context) for row in rows], ROWS, None, 0, 0)[:BATCHES]
    chosen = [[rows[index] for index in batch] for batch in order]
    if slot == "suffix":
        backbone.remember([row.context for batch in chosen for row in batch])
    batches = itertools.cycle(chosen)
    start = backbone.embeddings[torch.arange(200, 200 + LENGTH)].float().clone()
    side = Ours(backbone, start)
    return lambda: side.step(next(batches))


def _peak(name: str, options: argparse.Namespace) -> int:
    command = [sys.executable, "-m", "benchmarks.precision", "--backbone", options.backbone]
    command += ["--peak", name] + (["--reviews", options.reviews] if options.reviews else [])
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return int(done.stdout.split()[-1])


if __name__ == "__main__":
    sys.exit(main())
