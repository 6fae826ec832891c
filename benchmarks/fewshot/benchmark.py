"""What 16 rows of each label are worth to whom: `make bench-fewshot`.

    python -m benchmarks.fewshot [--sets sentiment topic --seeds 13 21 --steps 40]
    python -m benchmarks.fewshot --folder 16-shot --tests data     # RLPrompt's sets, all seven
    python -m benchmarks.fewshot --meta init.safetensors --shared runs/multitask

The protocol of Gao, Fisch and Chen (ACL 2021): 16 training rows a label and as many validation
rows, others for each of five seeds; two linear models, the template as it is, demonstrations,
prompt tuning from several starts, p-tuning v2 behind the inputs with words and with a head,
pattern-exploiting training, LM-BFF, DART, LoRA and full tuning.
The first seed's validation rows choose each one's rate among three; the test rows are answered once
by each contestant and seed. It can be stopped and started again: finished cells are kept, one that
was cut off begins anew.

Without a folder, two sets of the catalogue, five seeds and 30 steps: some 80 minutes on two cores,
reckoned from CPU-seconds of SmolLM2-135M on a busy Zen 4 core: 0.85 a step of 8 sentences, 1.7 of 8
news items of 64 tokens, LoRA a fifth more.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fewshot.cells import Cell, Plan, run_cell
from benchmarks.fewshot.contestants import CONTESTANTS, SHIPPED, Starts
from benchmarks.machine import processor, versions
from benchmarks.methods.score import Right
from benchmarks.places import RESULTS
from benchmarks.search.score import minus_each, rights_by_set, scores
from benchmarks.search.sets import CATALOGUE, SEEDS, SEVEN, Sizes
from benchmarks.workers import add_run_options, run_cells, run_missing, say_plan, show_step
from cuecard import load_backbone
from cuecard.evaluation.report import plain
from cuecard.types import Backbone

OUT = RESULTS / "fewshot.json"
BACKBONE, ENCODER = "smollm2-135m-instruct", "all-minilm-l6-v2"
# CPU-seconds on Zen 4 for the first guess: a step of 8 rows, and what a cell takes beside them.
_STEP, _REST = 1.2, 25.0
# Trainings of so many steps; PET's of three patterns and what they are distilled into.
_TRAININGS = {"pet": 4.0, "lm-bff": 2.0, "dart": 1.9, "full": 1.5, "lora": 1.2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not there yet, then write the results."""
    given = _arguments(arguments)
    plan = _plan(given)
    cells = _cells(plan, given)
    folder = Path(given.cells)
    if not given.worker:
        _say_plan(plan, cells, folder, given.workers)
    return run_cells(
        "benchmarks.fewshot",
        given,
        arguments,
        cells,
        folder,
        lambda: work(cells, folder, given.workers),
        lambda: summary(plan, cells, folder),
    )


def work(cells: Sequence[Cell], folder: Path, workers: int = 1) -> None:
    """Run every cell that is not there, but for those another process has taken."""
    loaded = functools.cache(lambda name: load_backbone(name, device="cpu"))

    def run(cell: Cell) -> str:
        plan = cell.plan
        encoder: functools.partial[Backbone] = functools.partial(loaded, plan.encoder)
        found = run_cell(cell, loaded(plan.backbone), encoder, folder, show_step)
        told = found.get("unsupported") or (
            f"validation {found['validation']:.3f}, test {found['test']:.3f}, rate "
            f"{found['rate']:g}, {found['spent_s']:.0f} CPU-s"
        )
        return f"{cell.set} {cell.seed} {cell.contestant}: {told}"

    run_missing(cells, folder, run, _cost, workers, lambda cell: cell.ready(folder))


def summary(plan: Plan, cells: Sequence[Cell], folder: Path) -> dict[str, Any]:
    """Every cell, and per contestant its mean over sets and seeds beside every other's."""
    found = {cell: json.loads(cell.file(folder).read_text()) for cell in cells}
    told: dict[str, Any] = plain(plan) | {
        "backbone": Path(plan.backbone).name,
        "encoder": Path(plan.encoder).name,
        "place": Path(plan.place).name,
        "starts": {k: Path(v).name for k, v in plain(plan.starts).items()},
    }
    del told["tests"]
    about: dict[str, Any] = plain(
        {
            "plan": told,
            "machine": processor(),
            "versions": versions(),
            "rows": _rows(found),
            "cells": list(found.values()),
        }
    )
    return about


def _rows(found: Mapping[Cell, dict[str, Any]]) -> list[dict[str, Any]]:
    results: dict[str, list[dict[str, Any]]] = {}
    for cell, result in found.items():
        results.setdefault(cell.contestant, []).append(result)
    rights = {name: rights_by_set(own) for name, own in results.items()}
    rows = []
    for name, own in results.items():
        sets = rights[name]
        if not sets:
            rows.append({"contestant": name, "unsupported": own[0]["unsupported"]})
            continue
        row = {
            "contestant": name,
            **scores(sets),
            # Of the seeds' means over the sets.
            "deviation": float(np.std(_of_seeds(sets), ddof=1)) if _seeds(sets) > 1 else 0.0,
            "trained": max(each.get("trained", 0) for each in own),
            "cpu_s": float(np.mean([each["cpu_s"] for each in own if "cpu_s" in each])),
            "minus": minus_each(name, rights),
        }
        rows.append(row)
    return rows


def _of_seeds(sets: Mapping[str, Right]) -> list[float]:
    """Each seed's mean over the sets."""
    return [float(x) for x in np.mean([values.mean(1) for values in sets.values()], axis=0)]


def _seeds(sets: Mapping[str, Right]) -> int:
    return min(len(values) for values in sets.values())


def _plan(given: argparse.Namespace) -> Plan:
    return Plan(
        given.backbone,
        given.encoder,
        given.steps,
        given.batch,
        given.seeds[0],
        given.unlabelled,
        given.folder,
        given.tests,
        Starts(given.meta, given.shared),
        Sizes(shots=given.shots, test=given.test_rows, tokens=given.max_length),
    )


def _cells(plan: Plan, given: argparse.Namespace) -> list[Cell]:
    folder = bool(given.folder) and Path(given.folder).is_dir()
    names = [one for one in given.contestants if plan.starts.of(one) != ""]
    # What lends its rate is a contestant, too, and so is each that another is one of.
    lent = {CONTESTANTS[one].rate_of for one in names}.union(
        *(CONTESTANTS[one].one_of for one in names)
    )
    names = [one for one in CONTESTANTS if one in names or one in lent]
    return [
        Cell(plan, one, name, seed)
        for one in given.sets or (SEVEN if folder else CATALOGUE)
        for name in names
        for seed in given.seeds
    ]


def _cost(cell: Cell) -> float:
    one = CONTESTANTS[cell.contestant]
    if not one.rates and not one.rate_of:
        return _REST
    tried = len(one.rates) if cell.before is None else 1
    each = _TRAININGS.get(cell.contestant, 1.0) * _STEP * cell.plan.steps
    return tried * each + _REST


def _say_plan(plan: Plan, cells: Sequence[Cell], folder: Path, workers: int) -> None:
    about = (
        f": {plan.steps} steps of {plan.batch} rows, {plan.sizes.shots} rows a label, "
        f"{plan.sizes.test} test rows of {plan.sizes.tokens} tokens at most."
    )
    say_plan(cells, folder, about, _cost, workers)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fewshot", description=(__doc__ or "").split("\n\n")[0]
    )
    sizes = Sizes()
    parser.add_argument("--backbone", default=BACKBONE)
    parser.add_argument("--encoder", default=ENCODER, help="of the sentence embeddings")
    parser.add_argument("--folder", default="", help="where RLPrompt's sets lie, or one file")
    parser.add_argument("--tests", default="", help="where their test rows lie, if elsewhere")
    parser.add_argument("--sets", nargs="+", help="by default sentiment and topic, or all seven")
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS), choices=CONTESTANTS)
    parser.add_argument("--meta", default="", help=f"a file of `cuecard meta-init`, or {SHIPPED!r}")
    parser.add_argument("--shared", default="", help="a multitask run to start a prompt from")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=8, help="rows of a step")
    parser.add_argument("--shots", type=int, default=sizes.shots)
    parser.add_argument("--test-rows", type=int, default=100)
    parser.add_argument("--unlabelled", type=int, default=100, help="rows without labels, for PET")
    parser.add_argument("--max-length", type=int, default=sizes.tokens)
    add_run_options(parser, "runs/bench-fewshot", OUT)
    return parser.parse_args(arguments)
