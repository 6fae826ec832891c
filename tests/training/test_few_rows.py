"""A run on very few rows ends with a report instead of an error about intervals."""

from __future__ import annotations

import json

import pytest

from cuecard.comparison.prove import prove
from cuecard.evaluation.report import plain
from cuecard.methods import PromptTuning
from cuecard.tasks import Task
from cuecard.training import TrainConfig
from cuecard.training.train import train
from cuecard.types import Record
from support.data.head_tasks import NUMBER
from support.tiny import tiny_backbone


@pytest.mark.parametrize("tested", [1, 3])
def test_regression_on_few_rows(tested: int) -> None:
    backbone = tiny_backbone()
    rows = [Record({"text": f"warm film {n}"}, f"{n * n}") for n in range(10 + tested)]
    task = Task.from_records(
        NUMBER, {"train": rows[:8], "validation": rows[8:10], "test": rows[10:]}
    )
    config = TrainConfig(steps=2)
    run = train(backbone, task, PromptTuning(length=2, init="random"), config)
    assert run.test is not None and run.test.ci95 == {}
    proof = prove(backbone, task, run)
    assert any("too few rows for an interval" in note for note in proof.notes)
    assert any(f"{tested} test row" in note and "few: intervals" in note for note in proof.notes)
    json.dumps(plain(proof.report), allow_nan=False)
