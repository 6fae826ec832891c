from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cuecard.comparison.prove import prove, write_proof
from cuecard.errors import DataError
from cuecard.evaluation.baselines.manual import (
    ManualPrompt,
    demonstration_counts,
    with_demonstrations,
)
from cuecard.evaluation.evaluate import evaluate
from cuecard.evaluation.likely_words import is_long
from cuecard.methods import PromptTuning, PTuningV2
from cuecard.tasks import Task, TaskSpec
from cuecard.training import TrainConfig
from cuecard.training.train import train
from cuecard.types import Record
from support.data.reviews import LONG_SPEC, SPEC, TEXT_SPEC, review_task, title_task
from support.tiny import tiny_backbone

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
    write_proof(proof, task, run, tmp_path, "reviews.csv")
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(NEEDED) <= set(report)
    assert report["test_rows"] == len(task.test)
    assert run.test is not None
    others = ["majority", "tfidf", "sentence_vectors", "start", "manual", "in_context"]
    for name in (*others, "prompt"):
        assert 0 <= report[name]["accuracy"] <= 1
        low, high = report[name]["ci95"]
        assert low <= report[name]["accuracy"] <= high
    assert report["prompt"]["accuracy"] == run.test.score
    assert report["gain"] == pytest.approx(run.test.score - report["manual"]["accuracy"])
    assert report["gain_ci95"][0] <= report["gain"] <= report["gain_ci95"][1]
    assert report["gain_majority"] == pytest.approx(run.test.score - report["majority"]["accuracy"])
    best = max(
        report[name]["accuracy"] for name in (*others, "manual_calibrated") if name in report
    )
    assert report["gain_best"] == pytest.approx(run.test.score - best)
    assert report[report["best"]]["accuracy"] == best
    assert report["gain_best_ci95"][0] <= report["gain_best"] <= report["gain_best_ci95"][1]
    tried = len({trial["name"] for trial in report["manual"]["candidates"]})
    assert tried + len(report["manual"]["skipped"]) == 6
    spared = {name: why for name, why in report["left_out"].items() if "not tried" in why}
    assert report["left_out"] == spared  # what the training's tokens did not pay for
    assert (f"{6 - tried} of 6 hand-written prompts" in spared) == (tried < 6)
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == len(task.test)
    markdown = (tmp_path / "report.md").read_text()
    assert markdown.startswith("# reviews.csv: prompt-tuning on tiny-llama\n")
    assert "trained: prompt-tuning" in markdown and "paired 95% interval" in markdown
    assert "over the majority class" in markdown and "over the best of all others, " in markdown
    assert "test rows, scored once" in markdown
    for figure in ("training.png", "confusion.png"):
        assert (tmp_path / "figures" / figure).read_bytes().startswith(b"\x89PNG")
    chart = (tmp_path / "figures" / "contestants.svg").read_text()
    assert chart.startswith("<svg") and chart.count("<circle") == len(proof.rows)
    # Each contestant sees the test rows once.
    by_hand = {"manual", "manual_calibrated", "in_context"} & set(report)
    tested = {report[name]["name"] for name in by_hand} | {"tfidf", "sentence_vectors", "start"}
    assert sum(event["event"] == "baseline" for event in seen) == len(tested)
    assert report["best_by_hand"] in by_hand
    names = [row.prompt for row in proof.rows]
    assert names[:4] == [
        "majority class",
        "TF-IDF, logistic regression",
        "sentence vectors of tiny-llama, logistic regression",
        "start, untrained",
    ]
    assert all(row.bytes_per_task > 0 and row.fit_cpu_seconds for row in proof.rows[1:3])


@pytest.mark.parametrize("spec", [SPEC, LONG_SPEC], ids=["one token", "several tokens"])
def test_the_comparison_costs_less_than_the_training(spec: TaskSpec) -> None:
    """Counted in tokens, those of training steps twice."""
    backbone, task = tiny_backbone(), review_task(300, spec)
    run = train(backbone, task, PromptTuning(length=8), TrainConfig(steps=60))
    before, seen = backbone.counts["tokens"], list[dict[str, Any]]()
    proof = prove(backbone, task, run, observer=seen.append)
    spent = backbone.counts["tokens"] - before
    assert spent == proof.report["comparison"]["tokens"]
    assert spent < run.tokens == proof.report["comparison"]["training_tokens"]
    assert {"start", "manual", "in_context", "sentence_vectors"} <= set(proof.report)
    # Many are tried on few rows, and few on all.
    tried = [event for event in seen if event["event"] == "candidate"]
    rows = [event["rows"] for event in tried]
    assert rows.count(32) > rows.count(len(task.validation)) >= 2
    assert all(1 <= event["i"] <= event["n"] for event in tried)


def test_what_a_short_training_does_not_pay_for_is_left_out() -> None:
    """But the prompt written by hand, what costs no tokens and what was asked for by number."""
    backbone, task = tiny_backbone(), review_task(300)
    run = train(backbone, task, PromptTuning(length=8), TrainConfig(steps=1, batch_rows=2))
    short = replace(run, tokens=run.tokens // 4)
    report = prove(backbone, task, short).report
    assert {"majority", "tfidf", "manual"} <= set(report)
    dear = {"start, untrained", "prompts with demonstrations"}
    dear |= {"sentence vectors of tiny-llama"}
    assert dear <= set(report["left_out"]), report["left_out"]
    assert not {"start", "in_context", "sentence_vectors"} & set(report)
    assert "in_context" in prove(backbone, task, short, demonstrations=(2,)).report


def test_demonstrations_show_every_label_by_default() -> None:
    spec = SPEC.model_copy(update={"labels": tuple("abcde"), "words": {}})
    records = [Record({"text": f"row {i}"}, "abcde"[i % 5]) for i in range(100)]
    counts = demonstration_counts(spec, records)
    assert counts == (5, 8, 10, 12, 16)
    for count in counts:
        (shown,) = with_demonstrations(ManualPrompt("m", SPEC.template), records, [count], spec, 0)
        assert {record.target for record in shown.demonstrations} == set("abcde")
    assert demonstration_counts(spec, records[:14]) == (5, 8)  # the shorter half of each label
    many = spec.model_copy(update={"labels": tuple(map(str, range(40)))})
    rows = [Record({"text": f"row {i}"}, str(i % 40)) for i in range(200)]
    assert demonstration_counts(many, rows) == (4, 8, 12, 16)
    assert demonstration_counts(TEXT_SPEC, records) == (4, 8)


def test_calibrated_and_written_prompts_are_compared_apart() -> None:
    """Plain answers of a backbone that always says one thing are worse than calibrated ones."""
    backbone, task = tiny_backbone(), review_task(150)
    run = train(backbone, task, PromptTuning(length=8), TrainConfig(steps=2))
    report = prove(backbone, task, run, demonstrations=()).report
    assert report["manual"]["variant"] == "plain" and "in_context" not in report
    trials = report["manual"]["candidates"]
    whole = [t for t in trials if t.rows == max(t.rows for t in trials)]
    best = {
        kind: max(t.score for t in whole if (t.variant == "plain") == kind)
        for kind in (True, False)
    }
    (own,) = (t for t in whole if (t.name, t.variant) == (report["manual"]["name"], "plain"))
    assert own.score == best[True]
    assert "manual_calibrated" in report or best[False] <= best[True]
    if "manual_calibrated" in report:
        assert best[False] >= best[True]
        low, high = report["gain_calibrated_ci95"].low, report["gain_calibrated_ci95"].high
        assert low <= report["gain_calibrated"] <= high


def test_labels_of_a_long_list_are_read_with_their_prior() -> None:
    """Which labels of several tokens can be left out depends on the prior: none is wrongly."""
    labels = tuple(f"{i} of the films, {word}" for i in range(12) for word in ("best", "bad"))
    spec = SPEC.model_copy(update={"labels": labels, "words": {}})
    rows = [Record({"text": f"row {i} {labels[i % 24]}"}, labels[i % 24]) for i in range(120)]
    task = Task.from_records(spec, rows, split=(0.6, 0.2, 0.2))
    backbone = tiny_backbone()
    run = train(backbone, task, PromptTuning(length=4), TrainConfig(steps=2))
    mine = [ManualPrompt("mine", spec.template)]
    report = prove(backbone, task, run, manual=mine, demonstrations=()).report
    assert is_long(spec.label_words(backbone.tokenizer).words)
    found = report.get("manual_calibrated", report["manual"])
    assert found["variant"] != "plain"
    assert found["accuracy"] == evaluate(backbone, spec, task.test, prior=found["prior"]).score


def test_what_has_no_room_is_left_out_with_a_note() -> None:
    """In a window of 256 tokens two long texts have no place, nor has a chat around one."""
    backbone, task = tiny_backbone(), review_task(60)
    spec = task.spec.model_copy(update={"max_length": 250})
    stretch = "one of the best " * 13

    def stretched(rows: tuple[Record, ...]) -> tuple[Record, ...]:
        return tuple(replace(r, fields={"text": f"{stretch}{r.fields['text']}"}) for r in rows)

    wide = replace(
        task,
        spec=spec,
        train=stretched(task.train),
        validation=stretched(task.validation),
        test=stretched(task.test),
    )
    run = train(backbone, wide, PromptTuning(length=4), TrainConfig(steps=1, batch_rows=2))
    proof = prove(backbone, wide, run, demonstrations=(2,))
    assert "in_context" not in proof.report and "manual" in proof.report
    assert "leaves no room" in proof.report["left_out"]["prompts with demonstrations"]
    assert any(note.startswith("Left out: prompts with demonstrations (") for note in proof.notes)
    short = replace(wide, train=wide.train[:3])
    asked = prove(backbone, short, run, demonstrations=(4,)).report["left_out"][
        "prompts with demonstrations"
    ]
    assert "need more" in asked


def test_one_test_row_is_enough_for_a_report() -> None:
    backbone, task = tiny_backbone(), review_task(60)
    task = replace(task, test=task.test[:1])
    run = train(backbone, task, PromptTuning(length=4), TrainConfig(steps=1))
    proof = prove(backbone, task, run, demonstrations=())
    assert proof.report["gain_best"] in (-1.0, 0.0, 1.0)


def test_text_to_text_is_proved_by_rouge_l(tmp_path: Path) -> None:
    backbone, task = tiny_backbone(), title_task()
    run = train(backbone, task, PromptTuning(length=8), TrainConfig(steps=5), folder=tmp_path)
    proof = prove(backbone, task, run, demonstrations=())
    write_proof(proof, task, run, tmp_path, "titles")
    assert proof.report["metric"] == "rouge_l"
    assert "in_context" not in proof.report
    assert {"majority", "manual"} <= set(proof.report) and proof.columns[1] == "ROUGE-L"
    assert ("start" in proof.report) != ("start, untrained" in proof.report["left_out"])
    assert not (tmp_path / "figures" / "confusion.png").exists()


def test_without_test_rows_nothing_is_proved() -> None:
    backbone, task = tiny_backbone(), replace(review_task(60), test=())
    run = train(backbone, task, PromptTuning(length=4), TrainConfig(steps=1))
    with pytest.raises(DataError, match="no test rows"):
        prove(backbone, task, run)


LATE_SPEC = SPEC.model_copy(
    update={
        "template": "Review: good good\nSentiment: good\n\nReview: {text}{prompt}\nSentiment:",
    }
)


def test_who_leaves_the_inputs_as_they_are_answers_in_the_pass_of_the_test(
    tmp_path: Path,
) -> None:
    """The same answers as alone, for the tokens behind the inputs, which are counted."""
    backbone, task = tiny_backbone(), review_task(150, LATE_SPEC)
    method, config = PTuningV2(length=4, slot="infix"), TrainConfig(steps=30)
    shown = Record({"text": "good good"}, "positive")
    by_hand = ManualPrompt("solved", "Review: {text}{prompt}\nSentiment:", demonstrations=(shown,))
    alone = train(backbone, task, method, config)
    before = backbone.counts["tokens"]
    plain = prove(backbone, task, alone, manual=[by_hand], demonstrations=())
    spent = backbone.counts["tokens"] - before
    backbone = tiny_backbone()  # which remembers nothing
    run = train(backbone, task, method, config, alongside=True, folder=tmp_path)
    assert alone.alongside is None and run.alongside is not None and run.test is not None
    assert run.prompt.digest == alone.prompt.digest and run.tokens == alone.tokens
    before, seen = backbone.counts["tokens"], list[dict[str, Any]]()
    found = prove(
        backbone, task, run, manual=[by_hand], demonstrations=(), observer=seen.append
    ).report
    own = backbone.counts["tokens"] - before
    for name in ("start", "manual", "manual_calibrated", "prompt"):
        assert (name in found) is (name in plain.report)
        if name in found:
            assert found[name]["accuracy"] == plain.report[name]["accuracy"], name
            assert found[name]["tokens_per_request"] == plain.report[name]["tokens_per_request"]
    assert {"start", "manual"} <= set(found)
    tested = [event["name"] for event in seen if event["event"] == "baseline"]
    assert not [name for name in tested if "hand" in name or "start" in name]
    # A test row's own tokens: those behind the review, each of them twice.
    behind = len(backbone.tokenizer.encode("\nSentiment:", add_special_tokens=False))
    assert run.alongside.tokens == 2 * behind * len(task.test)
    assert found["comparison"]["tokens"] == own + run.alongside.tokens
    assert found["comparison"]["cpu_seconds"] > run.alongside.cpu_seconds > 0
    assert found["comparison"]["tokens"] < spent - run.alongside.tokens
    assert set(found["left_out"]) <= set(plain.report["left_out"])
    # Whoever goes on after the test finds the answers again.
    backbone.reset_counts()
    again = train(backbone, task, method, config, alongside=True, folder=tmp_path).alongside
    assert again is not None and again.template is not None
    assert backbone.counts["tokens"] < 4 * len(task.test)  # one row, when the set-up is checked
    assert again.tokens == run.alongside.tokens
    assert again.start.predictions == run.alongside.start.predictions
    assert again.template.score == found["manual"]["accuracy"]


def test_what_answers_alongside_stays_within_the_training_too() -> None:
    backbone, task = tiny_backbone(), review_task(300, LATE_SPEC)
    short = TrainConfig(steps=1, batch_rows=2, inputs="recompute")
    short_of_rows = replace(task, train=task.train[:4], validation=task.validation[:2])
    run = train(backbone, short_of_rows, PTuningV2(length=4, slot="infix"), short, alongside=True)
    assert run.alongside is None and run.test is not None
    before = PromptTuning(length=4), TrainConfig(steps=2)
    early = train(backbone, review_task(), *before, alongside=True)
    assert early.alongside is None  # its vectors change what the model makes of the inputs
