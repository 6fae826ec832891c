"""Prompt tuning or fine-tuning, on six sets with two models: `make bench-compare`.

    python -m benchmarks.compare [--sets sentiment topic --backbones smollm2-135m-instruct]
    python -m benchmarks.compare --contestants tfidf prompt-tuning lora --steps 60

The contestants of `cuecard compare`, by its rules: the same rows, splits and steps, as many
learning rates each, everything chosen on validation rows, the test rows answered once. Forgetting
is measured on texts that the frozen model writes. It can be stopped and started again: finished
cells are kept, one that was cut off goes on from its checkpoints.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compare.cells import COMPARED, Cell, Plan, run_cell
from benchmarks.machine import processor, versions
from benchmarks.methods.sets import Rows
from benchmarks.places import RESULTS
from benchmarks.search.score import minus_each, rights_by_set, scores
from benchmarks.workers import add_run_options, run_cells, run_missing, say_plan, show_step
from cuecard import load_backbone
from cuecard.comparison.contest.contenders import CONTENDERS
from cuecard.comparison.contest.general_texts import GeneralTexts, general_texts
from cuecard.evaluation.report import plain
from cuecard.types import Backbone

OUT = RESULTS / "compare.json"
BACKBONES = ("smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct")
ENCODER = "all-minilm-l6-v2"
NAMES = (
    *("majority", "tfidf", "embedding-lr", "zero-shot", "in-context", "start"),
    *("prompt-tuning", "p-tuning-v2", "lora", "full"),
)
WORDS = "the best in words"
# CPU-seconds of SmolLM2 on Zen 4 for the first guess: a step of 8 rows, what a cell takes beside
# its steps, and of each the share of a prompt's step that its own takes.
_STEP, _REST, _PROMPT, _PLAIN = 1.2, 40.0, 1.0, 2.0
_STEPS = {"lora": 1.2, "full": 1.6}
_LARGER = {"qwen2.5-coder-0.5b-instruct": 3.5}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not there yet, then write the results."""
    given = _arguments(arguments)
    rows = Rows(given.train_rows, given.validation_rows, given.test_rows, given.max_length)
    plan = Plan(given.steps, given.batch, given.rates, rows, given.data)
    cells = [
        Cell(plan, backbone, one, name)
        for backbone in given.backbones
        for one in given.sets
        for name in CONTENDERS
        if name in given.contestants
    ]
    folder = Path(given.cells)
    if not given.worker:
        about = (
            f": {plan.steps} steps of {plan.batch} rows at {plan.rates} rates, {rows.train} "
            f"training, {rows.validation} validation and {rows.test} test rows."
        )
        say_plan(cells, folder, about, _cost, given.workers)
    return run_cells(
        "benchmarks.compare",
        given,
        arguments,
        cells,
        folder,
        lambda: work(cells, folder, given.encoder, given.workers),
        lambda: summary(plan, cells, folder),
    )


def work(cells: Sequence[Cell], folder: Path, encoder: str, workers: int = 1) -> None:
    """Run every cell that is not there, but for those another process has taken."""
    loaded = functools.cache(lambda name: load_backbone(name, device="cpu"))
    texts = functools.cache(lambda name: _general(loaded(name)))

    def run(cell: Cell) -> str:
        made: functools.partial[Backbone] = functools.partial(loaded, encoder)
        backbone, general = loaded(cell.backbone), texts(cell.backbone)
        found = run_cell(cell, backbone, made, general, folder, show_step)
        told = found.get("unsupported") or f"test {found['test']:.3f}"
        return f"{found['backbone']} {cell.set} {cell.contestant}: {told}"

    run_missing(cells, folder, run, _cost, workers)


def _general(backbone: Backbone) -> GeneralTexts | None:
    found = general_texts(backbone, None, 0)
    return None if isinstance(found, str) else found


def summary(plan: Plan, cells: Sequence[Cell], folder: Path) -> dict[str, Any]:
    """Every cell, and per model and contestant its mean over the sets beside every other's."""
    found = [json.loads(cell.file(folder).read_text()) for cell in cells]
    models = dict.fromkeys(each["backbone"] for each in found)
    about: dict[str, Any] = plain(
        {
            "plan": plain(plan) | {"data": Path(plan.data).name},
            "machine": processor(),
            "versions": versions(),
            "models": {
                model: _rows([each for each in found if each["backbone"] == model])
                for model in models
            },
            "cells": found,
        }
    )
    return about


def _rows(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per contestant of one model."""
    names = dict.fromkeys(each["contestant"] for each in found)
    results = {n: [each for each in found if each["contestant"] == n] for n in names}
    rights = {name: rights_by_set(own) for name, own in results.items()}
    rights[WORDS] = rights_by_set(_best_in_words(found))
    rows = []
    for name, own in results.items():
        if not rights[name]:
            rows.append({"contestant": name, "unsupported": own[0]["unsupported"]})
            continue
        ran = [each for each in own if "right" in each]
        rows.append(
            {
                "contestant": name,
                **scores(rights[name]),
                **{key: _mean(ran, key) for key in ("parameters", "bytes", "cpu_s", "forgotten")},
                "peak_bytes": max((each["peak_bytes"] or 0 for each in ran), default=0),
                "changed": ran[0]["changed"],
                "mixes": ran[0]["mixes"],
                "minus": minus_each(name, rights),
            }
        )
    return rows


def _best_in_words(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """On every set the one that did best on validation rows of those that ask in words."""
    best: dict[str, dict[str, Any]] = {}
    for each in found:
        if each.get("words"):
            kept = best.get(each["set"])
            if kept is None or each["validation"] > kept["validation"]:
                best[each["set"]] = each
    return [*best.values()]


def _mean(ran: Iterable[Mapping[str, Any]], key: str) -> float | None:
    values = [each[key] for each in ran if each[key] is not None]
    return float(np.mean(values)) if values else None


def _cost(cell: Cell) -> float:
    """Of a cell in CPU-seconds, before it is known."""
    trained = CONTENDERS[cell.contestant].trains
    steps = (
        cell.plan.rates * cell.plan.steps * _STEPS.get(cell.contestant, _PROMPT) if trained else 0
    )
    asked = _REST if cell.contestant not in ("majority", "tfidf", "embedding-lr") else _PLAIN
    return _LARGER.get(cell.backbone, 1.0) * (_STEP * steps + asked)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--encoder", default=ENCODER, help="of the sentence vectors")
    parser.add_argument("--sets", nargs="+", default=list(COMPARED), choices=COMPARED)
    parser.add_argument("--contestants", nargs="+", default=list(NAMES), choices=CONTENDERS)
    parser.add_argument("--data", default="", help="a file instead of each set's own source")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=8, help="rows of a step")
    parser.add_argument("--rates", type=int, default=2, help="learning rates that each tries")
    parser.add_argument("--train-rows", type=int, default=240)
    parser.add_argument("--validation-rows", type=int, default=64)
    parser.add_argument("--test-rows", type=int, default=120)
    parser.add_argument("--max-length", type=int, default=64, help="tokens of a row")
    add_run_options(parser, "runs/bench-compare", OUT)
    return parser.parse_args(arguments)
