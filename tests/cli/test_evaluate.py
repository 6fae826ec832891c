"""`cuecard eval`: the library's numbers, shown and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import cuecard as library
from command_line import Call, save_rows, save_tiny
from cuecard.cli.console import console
from cuecard.cli.evaluation_view import print_evaluation
from cuecard.evaluation import score_predictions
from cuecard.tasks import TaskSpec
from cuecard.types import Prediction, Record
from reviews import TEXT_SPEC


@pytest.fixture(scope="session")
def expected(run: Path, backbone: Path, data: Path) -> Any:
    """What the library measures, with and without the prompt."""
    model = library.load_backbone(backbone)
    prompt = library.Prompt.load(run / "prompt", model)
    records = library.Task.from_file(
        data, template=prompt.spec.template, text_field="review", split=(1.0, 0.0, 0.0)
    ).train
    records = sorted(records, key=lambda r: r.row)
    prior = prompt.manifest.prior
    assert prior is not None
    return [
        library.evaluate(model, prompt.spec, records, prompt.injection(), prior=prior),
        library.evaluate(model, prompt.spec, records, None),
    ]


def test_report(cuecard: Call, run: Path, data: Path, expected: Any, tmp_path: Path) -> None:
    out, answers = tmp_path / "new" / "report.json", tmp_path / "answers.jsonl"
    done = cuecard("eval", run, data, "--json", "--out", out, "--predictions", answers)
    assert done.code == 0
    report = done.json
    assert json.loads(out.read_text()) == report
    assert report["metrics"]["accuracy"] == expected[0].score
    assert report["metrics"]["confusion"] == expected[0].metrics["confusion"]
    low, high = report["ci95"]["accuracy"]
    assert low <= expected[0].score <= high
    assert report["calibration"] == "saved" and report["used_prompt"] is True
    assert report["digest"] == library.Prompt.load(run / "prompt").digest
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    assert len(rows) == report["rows"] == 80
    assert sum(row["correct"] for row in rows) / 80 == report["metrics"]["accuracy"]
    # The run was cut from these very rows: its own test rows are the ones that it has not seen.
    tested = library.Prompt.load(run / "prompt").manifest.metrics["test"]
    assert isinstance(tested, dict)
    assert report["unseen"]["rows"] == tested["rows"]
    assert report["unseen"]["metrics"]["accuracy"] == tested["accuracy"]
    assert sum(report["seen_rows"].values()) == 80 - report["unseen"]["rows"]
    assert f"trained on {report['seen_rows']['trained']} and selected on" in done.err


def test_labels_that_training_never_saw(
    cuecard: Call, run: Path, data: Path, tmp_path: Path
) -> None:
    rows = [{"review": f"a new film number {n}", "label": "positive"} for n in range(6)]
    odd = [{"review": "neither", "label": "mixed"}, {"review": "both", "label": "mixed"}]
    path = save_rows(tmp_path / "rows.csv", [*rows[:3], *odd, *rows[3:]])
    done = cuecard("eval", run, path, "--json")
    assert done.code == 0
    assert done.json["rows"] == 6 and done.json["unknown_labels"] == {"mixed": 2}
    assert "2 of 8 rows have labels that the prompt was not trained for" in done.err
    assert "only 6 rows are scored" in done.err
    assert "seen_rows" not in done.json


def test_labels_of_which_training_saw_none(cuecard: Call, run: Path, tmp_path: Path) -> None:
    """All of them are named, not only the first row's."""
    rows = [
        {"review": f"film {n}", "label": label} for n, label in enumerate(("pos", "neg", "pos"))
    ]
    done = cuecard("eval", run, save_rows(tmp_path / "short.csv", rows))
    told = " ".join(done.err.split())
    assert done.code == 2 and "short.csv, row 2 and 2 more rows" in told
    assert "'pos' (2), 'neg' (1)" in told and "labels among 'negative', 'positive'" in told


def test_text(cuecard: Call, run: Path, data: Path, expected: Any) -> None:
    done = cuecard("eval", run, data)
    assert done.code == 0
    for word in ("accuracy", "macro-F1", "calibration error", "precision", "answers:", "80 rows"):
        assert word in done.out
    assert f"{expected[0].score:.3f}" in done.out
    assert "Answering: 100%" in done.err


def test_without_the_prompt(cuecard: Call, run: Path, data: Path, expected: Any) -> None:
    report = cuecard("eval", run, data, "--no-prompt", "--json").json
    assert report["used_prompt"] is False
    assert report["metrics"]["accuracy"] == expected[1].score
    assert report["tokens_per_request"] == expected[1].tokens_per_request


@pytest.mark.parametrize("kind", ["batch", "content-free"])
def test_calibration(cuecard: Call, run: Path, data: Path, tmp_path: Path, kind: str) -> None:
    plain, other = both = [tmp_path / "plain.jsonl", tmp_path / "other.jsonl"]
    cuecard("eval", run, data, "--calibrate", "none", "--predictions", plain)
    report = cuecard("eval", run, data, "--calibrate", kind, "--predictions", other, "--json").json
    assert report["calibration"] == kind
    shifts = [
        {k: b["scores"][k] - a["scores"][k] for k in a["scores"]}
        for a, b in zip(*(map(json.loads, p.read_text().splitlines()) for p in both), strict=True)
    ]
    assert all(shift == pytest.approx(shifts[0], abs=1e-6) for shift in shifts)
    assert any(abs(value) > 1e-3 for value in shifts[0].values())


def test_the_saved_prior_is_used(
    cuecard: Call, run: Path, backbone: Path, data: Path, tmp_path: Path
) -> None:
    model = library.load_backbone(backbone)
    found = library.Prompt.load(run / "prompt", model)
    prior = {"negative": 0.0, "positive": -100.0}
    library.Prompt.create(
        found.vectors,
        backbone=model,
        spec=found.spec,
        method="prompt-tuning",
        method_config={},
        slot="prefix",
        prior=prior,
    ).save(tmp_path / "skewed")
    words = ("--text-field", "review", "--backbone", backbone, "--json")
    skewed = cuecard("eval", tmp_path / "skewed", data, *words).json
    assert skewed["calibration"] == "saved"
    assert [row[0] for row in skewed["metrics"]["confusion"]] == [0, 0]  # never "negative"
    answer = cuecard("predict", tmp_path / "skewed", "bad", "--backbone", backbone, "--json").json
    assert answer["predictions"][0]["answer"] == "positive"
    plain = cuecard("eval", tmp_path / "skewed", data, *words, "--calibrate", "none").json
    assert plain["calibration"] == "none"
    assert plain["metrics"]["confusion"] != skewed["metrics"]["confusion"]


def test_mistakes(cuecard: Call, run: Path, data: Path, tmp_path: Path) -> None:
    strange = save_rows(tmp_path / "rows.csv", [{"review": "good", "label": "neutral"}])
    missing = save_rows(tmp_path / "missing.csv", [{"revue": "good", "label": "positive"}])
    other = save_tiny(tmp_path / "other", seed=1)
    for words, message in (
        ((strange,), "rows.csv, row 2"),
        ((missing,), "did you mean 'revue'?"),
        ((data, "--label-field", "lable"), "did you mean 'label'?"),
        ((tmp_path / "none.csv",), "there is no such file"),
        ((data, "--backbone", other), "the prompt was made for another backbone"),
        ((data, "--out", data / "report.json"), "no file can be written here"),
        ((data, "--split", "test"), "cannot be split"),
    ):
        done = cuecard("eval", run, *words)
        assert done.code == 2, done
        assert message in done.err and done.out == "" and "Traceback" not in done.err


def test_a_usage_error_is_the_parsers(cuecard: Call, run: Path, data: Path) -> None:
    done = cuecard("eval", run, data, "--calibrate", "wishful")
    assert done.code == 2 and "content-free" in done.err


def test_texts_have_other_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    records = [Record({"text": "x"}, "a title"), Record({"text": "y"}, "other")]
    answers = [Prediction(0, "a title", {}, {}), Prediction(1, "wrong", {}, {})]
    print_evaluation(score_predictions(TEXT_SPEC, records, answers), (), console())
    shown = capsys.readouterr().out
    assert "exact match" in shown and "ROUGE-L" in shown and "precision" not in shown


def test_many_labels_show_the_commonest_confusions(capsys: pytest.CaptureFixture[str]) -> None:
    labels = tuple(f"label[{n}]" for n in range(14))
    spec = TaskSpec(kind="classification", template="{text}:", labels=labels)
    records = [Record({"text": "x"}, labels[n % 3]) for n in range(9)]
    scores = dict.fromkeys(labels, 0.0)
    answers = [Prediction(n, labels[1], scores, scores) for n in range(9)]
    print_evaluation(score_predictions(spec, records, answers), labels, console())
    shown = capsys.readouterr().out
    assert "commonest confusions" in shown
    assert "label[13]" in shown  # in the table by label, and not taken for markup
