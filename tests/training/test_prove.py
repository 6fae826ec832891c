from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import DataError
from cuecard.methods import PromptTuning
from cuecard.training import TrainConfig
from cuecard.training.prove import prove, write_proof
from cuecard.training.train import train
from reviews import review_task, title_task
from tiny import tiny_backbone

NEEDED = (
    "test_rows",
    "gain_ci95",
    "gain_in_context_ci95",
    "prompt_bytes",
    "train_cpu_seconds",
    "seed",
    "backbone",
    "digest",
)


def test_the_report_holds_what_was_measured(tmp_path: Path) -> None:
    backbone, task = tiny_backbone(), review_task(150)
    run = train(backbone, task, PromptTuning(length=8), TrainConfig(steps=40), folder=tmp_path)
    seen: list[dict[str, Any]] = []
    proof = prove(backbone, task, run, observer=seen.append)
    write_proof(proof, task, run, tmp_path, "reviews")
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(NEEDED) <= set(report)
    assert report["test_rows"] == len(task.test)
    assert run.test is not None
    for name in ("majority", "manual", "in_context", "prompt"):
        assert 0 <= report[name]["accuracy"] <= 1
        low, high = report[name]["ci95"]
        assert low <= report[name]["accuracy"] <= high
    assert report["prompt"]["accuracy"] == run.test.score
    assert report["gain"] == pytest.approx(run.test.score - report["manual"]["accuracy"])
    assert report["gain_ci95"][0] <= report["gain"] <= report["gain_ci95"][1]
    assert len(report["manual"]["candidates"]) >= 9
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == len(task.test)
    markdown = (tmp_path / "report.md").read_text()
    assert "trained: prompt-tuning" in markdown and "paired 95% interval" in markdown
    for figure in ("training.png", "confusion.png"):
        assert (tmp_path / "figures" / figure).read_bytes().startswith(b"\x89PNG")
    # Each contestant sees the test rows once.
    by_hand = {"manual", "manual_calibrated", "in_context"} & set(report)
    tested = {report[name]["name"] for name in by_hand}
    assert sum(event["event"] == "baseline" for event in seen) == len(tested)
    assert report["best_by_hand"] in by_hand


def test_calibrated_and_written_prompts_are_compared_apart() -> None:
    """Plain answers of a backbone that always says one thing are worse than calibrated ones."""
    backbone, task = tiny_backbone(), review_task(150)
    run = train(backbone, task, PromptTuning(length=8), TrainConfig(steps=2))
    report = prove(backbone, task, run, demonstrations=()).report
    assert report["manual"]["variant"] == "plain"
    scores = {(t.name, t.variant): t.score for t in report["manual"]["candidates"]}
    best = {
        kind: max(s for (_, v), s in scores.items() if (v == "plain") == kind)
        for kind in (True, False)
    }
    assert scores[report["manual"]["name"], "plain"] == best[True]
    assert ("manual_calibrated" in report) == (best[False] > best[True])
    if "manual_calibrated" in report:
        low, high = report["gain_calibrated_ci95"].low, report["gain_calibrated_ci95"].high
        assert low <= report["gain_calibrated"] <= high


def test_text_to_text_is_proved_by_rouge_l(tmp_path: Path) -> None:
    backbone, task = tiny_backbone(), title_task()
    run = train(backbone, task, PromptTuning(length=8), TrainConfig(steps=5), folder=tmp_path)
    proof = prove(backbone, task, run, demonstrations=())
    write_proof(proof, task, run, tmp_path, "titles")
    assert proof.report["metric"] == "rouge_l"
    assert "in_context" not in proof.report
    assert len(proof.rows) == 3 and proof.columns[1] == "ROUGE-L"
    assert not (tmp_path / "figures" / "confusion.png").exists()


def test_without_test_rows_nothing_is_proved() -> None:
    backbone, task = tiny_backbone(), replace(review_task(60), test=())
    run = train(backbone, task, PromptTuning(length=4), TrainConfig(steps=1))
    with pytest.raises(DataError, match="no test rows"):
        prove(backbone, task, run)
